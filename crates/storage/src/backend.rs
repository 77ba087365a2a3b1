//! From a configuration to an object store.

mod local;
mod uploads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::prefix::PrefixStore;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::config::{Backend, Secret, StorageConfig};
use crate::error::StorageError;
pub(crate) use local::LocalReads;
pub use uploads::OpenUpload;
use uploads::UploadLister;

/// An object store, and what reads parts of its objects quicker than it does.
pub(crate) struct Opened {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) reads: Option<LocalReads>,
}

/// Opens the configured backend. `data_dir` is where a local store lies unless configured.
pub(crate) fn open(config: &StorageConfig, data_dir: &Path) -> Result<Opened, StorageError> {
    let prefix = object_store::path::Path::parse(&config.prefix).map_err(refused)?;
    let mut reads = None;
    let store: Arc<dyn ObjectStore> = match config.backend {
        Backend::Local => {
            let files = local::open(config, data_dir)?;
            reads = Some(LocalReads::new(Arc::clone(&files), prefix.clone()));
            files
        }
        Backend::S3 => Arc::new(s3(config, client_options(config.s3.allow_http))?),
        Backend::Gcs => Arc::new(gcs(config, client_options(config.gcs.allow_http))?),
        Backend::Azure => Arc::new(azure(config, client_options(config.azure.allow_http))?),
    };
    let objects = if config.prefix.is_empty() {
        store
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    };
    Ok(Opened { objects, reads })
}

/// A store whose objects can be written in parts, over many requests and by many processes.
#[derive(Clone)]
pub struct PartStore {
    /// Whole objects.
    pub objects: Arc<dyn ObjectStore>,
    /// Objects in parts.
    pub parts: Arc<dyn MultipartStore>,
    signer: Option<Arc<dyn Signer>>,
    lister: Option<UploadLister>,
}

impl PartStore {
    /// Opens the configured backend for who keeps other things than logs in it. There are no
    /// bounds and repetitions but the client's own: a request ends that has no answer, or no more of
    /// it, for as long as `requests.timeout` says.
    ///
    /// # Errors
    /// If the configuration does not hold, or names a directory, which knows no parts.
    pub fn open(config: &StorageConfig) -> Result<Self, StorageError> {
        let timeout = config.requests.timeout.as_std();
        let options = |allow_http| client_options(allow_http).with_read_timeout(timeout);
        match config.backend {
            Backend::Local => Err(refused("a directory knows no parts")),
            Backend::S3 => {
                let options = options(config.s3.allow_http);
                let listed = (!config.s3.anonymous).then(|| options.clone());
                Self::new(s3(config, options)?, config, listed)
            }
            Backend::Gcs => {
                let options = options(config.gcs.allow_http);
                let listed = (!config.gcs.anonymous).then(|| options.clone());
                Self::new(gcs(config, options)?, config, listed)
            }
            // There are parts only, which go after a week.
            Backend::Azure => {
                let options = options(config.azure.allow_http);
                Self::new(azure(config, options)?, config, None)
            }
        }
    }

    /// `listed` is for who asks for its open uploads, if it has such and may be asked.
    fn new(
        store: impl ObjectStore + MultipartStore + Signer + Clone,
        config: &StorageConfig,
        listed: Option<ClientOptions>,
    ) -> Result<Self, StorageError> {
        let prefix = object_store::path::Path::parse(&config.prefix).map_err(refused)?;
        let lister = listed.map(|options| {
            let timeout = config.requests.timeout.as_std();
            UploadLister::new(Arc::new(store.clone()), prefix.clone(), &options, timeout)
        });
        let store = Arc::new(PrefixStore::new(store, prefix));
        Ok(Self {
            objects: store.clone(),
            parts: store.clone(),
            signer: Some(store),
            lister: lister.transpose().map_err(refused)?,
        })
    }

    /// A store that has no addresses for clients.
    #[must_use]
    pub fn without_addresses(
        objects: Arc<dyn ObjectStore>,
        parts: Arc<dyn MultipartStore>,
    ) -> Self {
        Self {
            objects,
            parts,
            signer: None,
            lister: None,
        }
    }

    /// The uploads in parts below a directory that are open; none if the store does not list them.
    #[must_use]
    pub fn open_uploads(
        &self,
        directory: &str,
    ) -> BoxStream<'static, object_store::Result<OpenUpload>> {
        match &self.lister {
            Some(lister) => lister.list(directory),
            None => stream::empty().boxed(),
        }
    }

    /// An address that everybody can read an object at for this long; none if the store has no
    /// such addresses.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub async fn address(
        &self,
        path: &object_store::path::Path,
        lifetime: Duration,
    ) -> object_store::Result<Option<String>> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let url = signer.signed_url(http::Method::GET, path, lifetime);
        Ok(Some(url.await?.into()))
    }
}

fn refused(error: impl std::fmt::Display) -> StorageError {
    StorageError::Config(error.to_string())
}

/// The clients' own repetitions. They know which answers of a server are worth one, but not our
/// deadlines, so most are left to [`crate::Store`].
fn client_retries(config: &StorageConfig) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: config.requests.retry_backoff.as_std(),
            max_backoff: config.requests.retry_backoff_max.as_std(),
            base: 2.0,
        },
        max_retries: 1,
        retry_timeout: config.requests.timeout.as_std(),
    }
}

/// The time limit is ours; the client's own would cut long uploads short.
fn client_options(allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allow_http)
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(5))
}

fn text(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}

/// Applies a builder's setter if there is a value.
fn set<B>(builder: B, value: Option<&str>, setter: impl FnOnce(B, String) -> B) -> B {
    match value {
        Some(value) => setter(builder, value.to_owned()),
        None => builder,
    }
}

fn s3(
    config: &StorageConfig,
    options: ClientOptions,
) -> Result<impl ObjectStore + MultipartStore + Signer + Clone + use<>, StorageError> {
    let s3 = &config.s3;
    if s3.bucket.is_empty() {
        return Err(refused("s3.bucket is not set"));
    }
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(text(&s3.region).unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(s3.virtual_hosted_style)
        .with_skip_signature(s3.anonymous)
        .with_retry(client_retries(config))
        .with_client_options(options);
    builder = set(builder, text(&s3.endpoint), AmazonS3Builder::with_endpoint);
    builder = set(
        builder,
        text(&s3.access_key_id),
        AmazonS3Builder::with_access_key_id,
    );
    builder = set(
        builder,
        s3.secret_access_key.reveal(),
        AmazonS3Builder::with_secret_access_key,
    );
    builder = set(
        builder,
        s3.session_token.reveal(),
        AmazonS3Builder::with_token,
    );
    if s3.checksum {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    builder.build().map_err(refused)
}

fn gcs(
    config: &StorageConfig,
    options: ClientOptions,
) -> Result<impl ObjectStore + MultipartStore + Signer + Clone + use<>, StorageError> {
    let gcs = &config.gcs;
    if gcs.bucket.is_empty() {
        return Err(refused("gcs.bucket is not set"));
    }
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&gcs.bucket)
        .with_skip_signature(gcs.anonymous)
        .with_retry(client_retries(config))
        .with_client_options(options);
    builder = set(builder, text(&gcs.endpoint), |builder, url| {
        builder.with_base_url(&url)
    });
    builder = set(
        builder,
        gcs.service_account_path.to_str().and_then(text),
        GoogleCloudStorageBuilder::with_service_account_path,
    );
    builder = set(
        builder,
        gcs.service_account_key.reveal(),
        GoogleCloudStorageBuilder::with_service_account_key,
    );
    builder.build().map_err(refused)
}

fn azure(
    config: &StorageConfig,
    options: ClientOptions,
) -> Result<impl ObjectStore + MultipartStore + Signer + Clone + use<>, StorageError> {
    let azure = &config.azure;
    if azure.container.is_empty() {
        return Err(refused("azure.container is not set"));
    }
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&azure.container)
        .with_use_emulator(azure.use_emulator)
        .with_retry(client_retries(config))
        .with_client_options(options);
    builder = set(
        builder,
        text(&azure.account),
        MicrosoftAzureBuilder::with_account,
    );
    builder = set(
        builder,
        text(&azure.endpoint),
        MicrosoftAzureBuilder::with_endpoint,
    );
    builder = set(
        builder,
        azure.access_key.reveal(),
        MicrosoftAzureBuilder::with_access_key,
    );
    let principal = [&azure.client_id, &azure.tenant_id].map(|id| text(id));
    if let ([Some(client), Some(tenant)], Some(secret)) = (principal, azure.client_secret.reveal())
    {
        builder = builder.with_client_secret_authorization(client, secret, tenant);
    } else if principal.iter().any(Option::is_some) || azure.client_secret != Secret::default() {
        return Err(refused(
            "azure.client_id, azure.tenant_id and azure.client_secret belong together",
        ));
    }
    builder.build().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_without_its_keys_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for backend in [Backend::S3, Backend::Gcs, Backend::Azure] {
            let config = StorageConfig {
                backend,
                ..StorageConfig::default()
            };
            let error = open(&config, dir.path()).err().unwrap();
            assert!(matches!(error, StorageError::Config(_)), "{error}");
        }
        assert!(open(&StorageConfig::default(), dir.path()).is_ok());
        assert!(dir.path().join("store").is_dir());
    }
}
