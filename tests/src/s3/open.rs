//! The server's files, with what they do not know: which uploads in parts are open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::sync::Mutex;

/// Uploads in parts that were begun and neither finished nor aborted.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    /// Key and id, and when it was begun.
    uploads: Arc<Mutex<BTreeMap<(String, String), SystemTime>>>,
    /// Whether who begins one is not told.
    is_silent: Arc<AtomicBool>,
}

impl Open {
    pub(super) async fn keys(&self) -> Vec<String> {
        let uploads = self.uploads.lock().await;
        uploads.keys().map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn keep_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    pub(super) async fn begin(&self, key: String, id: String) {
        self.uploads
            .lock()
            .await
            .insert((key, id), SystemTime::now());
    }

    async fn end(&self, key: String, id: String) {
        self.uploads.lock().await.remove(&(key, id));
    }
}

/// Files with their open uploads.
pub(super) struct Files {
    pub(super) files: FileSystem,
    pub(super) open: Open,
}

/// Has the files answer.
macro_rules! answered_by_files {
    ($($name:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Files {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$name(request).await
            })*

            async fn create_multipart_upload(
                &self,
                request: S3Request<CreateMultipartUploadInput>,
            ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
                let key = request.input.key.clone();
                let begun = self.files.create_multipart_upload(request).await?;
                let id = begun.output.upload_id.clone().unwrap_or_default();
                self.open.begin(key, id).await;
                if self.open.is_silent.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                Ok(begun)
            }

            async fn complete_multipart_upload(
                &self,
                request: S3Request<CompleteMultipartUploadInput>,
            ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
                let (key, id) = (request.input.key.clone(), request.input.upload_id.clone());
                let whole = self.files.complete_multipart_upload(request).await?;
                self.open.end(key, id).await;
                Ok(whole)
            }

            async fn abort_multipart_upload(
                &self,
                request: S3Request<AbortMultipartUploadInput>,
            ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
                let (key, id) = (request.input.key.clone(), request.input.upload_id.clone());
                let aborted = self.files.abort_multipart_upload(request).await?;
                self.open.end(key, id).await;
                Ok(aborted)
            }

            /// One on each page.
            async fn list_multipart_uploads(
                &self,
                request: S3Request<ListMultipartUploadsInput>,
            ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
                let input = request.input;
                let prefix = input.prefix.unwrap_or_default();
                let after = input.key_marker.zip(input.upload_id_marker);
                let uploads = self.open.uploads.lock().await;
                let mut left = uploads.iter().filter(|(upload, _)| {
                    upload.0.starts_with(&prefix) && after.as_ref().is_none_or(|after| *upload > after)
                });
                let listed = left.next().map(|((key, id), begun)| MultipartUpload {
                    key: Some(key.clone()),
                    upload_id: Some(id.clone()),
                    initiated: Some(Timestamp::from(*begun)),
                    ..MultipartUpload::default()
                });
                let page = ListMultipartUploadsOutput {
                    is_truncated: Some(left.next().is_some()),
                    next_key_marker: listed.as_ref().and_then(|listed| listed.key.clone()),
                    next_upload_id_marker: listed.as_ref().and_then(|listed| listed.upload_id.clone()),
                    uploads: Some(listed.into_iter().collect()),
                    ..ListMultipartUploadsOutput::default()
                };
                Ok(S3Response::new(page))
            }
        }
    };
}

answered_by_files! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    get_object(GetObjectInput) -> GetObjectOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    put_object(PutObjectInput) -> PutObjectOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    list_parts(ListPartsInput) -> ListPartsOutput;
}
