//! Uploads in parts that are open.
//!
//! A store keeps the parts of an upload until it is finished or aborted, and charges for them. The
//! client can do both, but not say which uploads there are, so the store is asked here: S3 and GCS
//! answer the same request,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http::{Method, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

/// How long the address of a request holds.
const SIGNED: Duration = Duration::from_secs(60);
/// Bytes of a page. Stores list at most a thousand uploads on one, with keys of at most 1 KiB.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Characters of a refusal that are told.
const SAID_CHARS_MAX: usize = 500;

/// An upload in parts that was begun and neither finished nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key of the object that it is to become.
    pub key: String,
    /// What the store calls it.
    pub id: String,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: i64,
}

/// Asks a store for its open uploads.
#[derive(Clone)]
pub(super) struct UploadLister {
    http: HttpClient,
    /// Signs for the whole bucket.
    signer: Arc<dyn Signer>,
    /// What all keys begin with.
    prefix: Path,
    timeout: Duration,
}

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marker {
    key: String,
    id: String,
}

/// What is on a page, and where the next one begins; none after the last.
type Turned = Option<(Vec<OpenUpload>, Option<Marker>)>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
    initiated: jiff::Timestamp,
}

impl Page {
    fn next(&self) -> Option<Marker> {
        let is_last = !self.is_truncated || self.next_key_marker.is_empty();
        (!is_last).then(|| Marker {
            key: self.next_key_marker.clone(),
            id: self.next_upload_id_marker.clone(),
        })
    }
}

fn failed(error: impl Display) -> object_store::Error {
    object_store::Error::Generic {
        store: "uploads in parts",
        source: error.to_string().into(),
    }
}

impl UploadLister {
    pub(super) fn new(
        signer: Arc<dyn Signer>,
        prefix: Path,
        options: &ClientOptions,
        timeout: Duration,
    ) -> object_store::Result<Self> {
        Ok(Self {
            http: ReqwestConnector::default().connect(options)?,
            signer,
            prefix,
            timeout,
        })
    }

    /// Those whose keys begin with a directory's name.
    pub(super) fn list(
        &self,
        directory: &str,
    ) -> BoxStream<'static, object_store::Result<OpenUpload>> {
        let below = match self.prefix.as_ref() {
            "" => format!("{directory}/"),
            prefix => format!("{prefix}/{directory}/"),
        };
        let lister = self.clone();
        let pages = stream::try_unfold(Some(Marker::default()), move |marker| {
            lister.clone().next_page(below.clone(), marker)
        });
        pages
            .map_ok(|uploads| stream::iter(uploads.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn next_page(
        self,
        below: String,
        marker: Option<Marker>,
    ) -> object_store::Result<Turned> {
        let Some(marker) = marker else {
            return Ok(None);
        };
        let page = tokio::time::timeout(self.timeout, self.page(&below, &marker)).await;
        let page = page.map_err(|_| failed("the store does not answer"))??;
        let next = page.next();
        if next.as_ref() == Some(&marker) {
            return Err(failed("the store's list of uploads does not end"));
        }
        let uploads = page.uploads.into_iter().map(|listed| self.open(listed));
        let uploads: object_store::Result<Vec<_>> = uploads.collect();
        Ok(Some((uploads?, next)))
    }

    fn open(&self, listed: Listed) -> object_store::Result<OpenUpload> {
        let key = match self.prefix.as_ref() {
            "" => Some(listed.key.as_str()),
            prefix => listed.key.strip_prefix(prefix),
        };
        let key = key.ok_or_else(|| failed(format!("{} was not asked for", listed.key)))?;
        Ok(OpenUpload {
            key: key.trim_start_matches('/').to_owned(),
            id: listed.upload_id,
            begun_ms: listed.initiated.as_millisecond(),
        })
    }

    async fn page(&self, below: &str, marker: &Marker) -> object_store::Result<Page> {
        let mut query = vec![("uploads", String::new()), ("prefix", below.to_owned())];
        if !marker.key.is_empty() {
            query.push(("key-marker", marker.key.clone()));
            query.push(("upload-id-marker", marker.id.clone()));
        }
        let options = SignedUrlOptions::new().with_query(query);
        let bucket = Path::ROOT;
        let url = self
            .signer
            .signed_url_opts(Method::GET, &bucket, SIGNED, &options);
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.await?.as_str().parse().map_err(failed)?;
        let answer = self.http.execute(request).await.map_err(failed)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        let mut body = answer.into_body().bytes_stream();
        while let Some(piece) = body.try_next().await.map_err(failed)? {
            if bytes.len() + piece.len() > PAGE_BYTES_MAX {
                return Err(failed("the store's list of uploads is too long"));
            }
            bytes.extend_from_slice(&piece);
        }
        let text = String::from_utf8_lossy(&bytes);
        match status {
            StatusCode::OK => quick_xml::de::from_str(&text).map_err(failed),
            // A store that lists none.
            StatusCode::NOT_IMPLEMENTED => Ok(Page::default()),
            _ => {
                let said: String = text.chars().take(SAID_CHARS_MAX).collect();
                Err(failed(format!(
                    "those that are open are not listed; does the key have \
                     s3:ListBucketMultipartUploads? {status}: {said}"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_as_stores_write_them() {
        let page = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Bucket>b</Bucket><KeyMarker></KeyMarker><UploadIdMarker/>
            <NextKeyMarker>data/ab/2</NextKeyMarker><NextUploadIdMarker>id 2</NextUploadIdMarker>
            <MaxUploads>2</MaxUploads><IsTruncated>true</IsTruncated>
            <Upload><Key>data/ab/1</Key><UploadId>id 1</UploadId>
            <Initiator><ID>someone</ID></Initiator><Owner><ID>someone</ID></Owner>
            <StorageClass>STANDARD</StorageClass><Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>
            <CommonPrefixes><Prefix>data/</Prefix></CommonPrefixes>
            <Upload><Key>data/ab/2</Key><UploadId>id 2</UploadId>
            <Initiated>2010-11-10T20:48:33Z</Initiated></Upload>
            </ListMultipartUploadsResult>"#;
        let page: Page = quick_xml::de::from_str(page).unwrap();
        let found: Vec<_> = page
            .uploads
            .iter()
            .map(|listed| &*listed.upload_id)
            .collect();
        assert_eq!(found, ["id 1", "id 2"]);
        assert_eq!(page.uploads[0].initiated.as_second(), 1_289_422_113);
        let next = page.next().unwrap();
        assert_eq!((&*next.key, &*next.id), ("data/ab/2", "id 2"));

        let last = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
            <NextKeyMarker>data/ab/2</NextKeyMarker></ListMultipartUploadsResult>";
        let last: Page = quick_xml::de::from_str(last).unwrap();
        assert!(last.uploads.is_empty() && last.next().is_none());
    }
}
