//! Where the store is and how it may be used.

use std::fmt;
use std::path::{Path, PathBuf};

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};

/// The section `storage` of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Which of the sections below is used.
    pub backend: Backend,
    /// Put before every key, so that several systems can share a bucket or directory.
    pub prefix: String,
    /// A directory.
    pub local: LocalConfig,
    /// Amazon S3 and what speaks its protocol.
    pub s3: S3Config,
    /// Google Cloud Storage.
    pub gcs: GcsConfig,
    /// Azure Blob Storage.
    pub azure: AzureConfig,
    /// Bounds of requests.
    pub requests: RequestConfig,
    /// Bounds of caches.
    pub cache: CacheConfig,
    /// Bounds of the manifest reader.
    pub catalog: CatalogConfig,
}

impl StorageConfig {
    /// Where keys lie, as one text: who has the same has the same objects. `directory` is where a local
    /// store lies unless configured.
    #[must_use]
    pub fn place(&self, directory: &Path) -> String {
        let (s3, gcs, azure) = (&self.s3, &self.gcs, &self.azure);
        let place = match self.backend {
            Backend::Local => {
                let configured = self.local.directory.as_path();
                let is_configured = !configured.as_os_str().is_empty();
                let directory = if is_configured { configured } else { directory };
                // Links are followed where it is there.
                let real = directory.canonicalize();
                let real = real.or_else(|_| std::path::absolute(directory));
                let real = real.unwrap_or_else(|_| directory.to_owned());
                real.display().to_string()
            }
            Backend::S3 => format!("s3:{}/{}", s3.endpoint.trim_end_matches('/'), s3.bucket),
            Backend::Gcs => format!("gcs:{}/{}", gcs.endpoint.trim_end_matches('/'), gcs.bucket),
            Backend::Azure => {
                let endpoint = azure.endpoint.trim_end_matches('/');
                format!("azure:{endpoint}/{}/{}", azure.account, azure.container)
            }
        };
        let (place, prefix) = (place.trim_end_matches('/'), self.prefix.trim_matches('/'));
        format!("{place}/{prefix}").trim_end_matches('/').to_owned()
    }
}

/// A kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A directory of this machine, or one that machines share.
    #[default]
    Local,
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

/// A directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalConfig {
    /// The directory; empty means `store` in the data directory.
    pub directory: PathBuf,
}

/// Amazon S3 and what speaks its protocol. Keys that are empty are taken from where Amazon's own
/// tools take them: the instance or the pod's identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Another server than Amazon's, as a URL.
    pub endpoint: String,
    /// The region; empty means `us-east-1`.
    pub region: String,
    /// Who we are.
    pub access_key_id: String,
    /// The secret that proves it.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Secret,
    /// Whether `http://` endpoints are allowed.
    pub allow_http: bool,
    /// The bucket as a part of the host's name instead of the path.
    pub virtual_hosted_style: bool,
    /// No credentials at all.
    pub anonymous: bool,
    /// Send a SHA-256 of each body, for servers that check it.
    pub checksum: bool,
}

/// Google Cloud Storage. Without a key, the instance's or pod's identity is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket.
    pub bucket: String,
    /// Another server than Google's, as a URL.
    pub endpoint: String,
    /// A service account's key, as a file.
    pub service_account_path: PathBuf,
    /// A service account's key, as JSON.
    pub service_account_key: Secret,
    /// Whether `http://` endpoints are allowed.
    pub allow_http: bool,
    /// No credentials at all.
    pub anonymous: bool,
}

/// Azure Blob Storage. Without a key, the machine's or pod's identity is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureConfig {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The account's key.
    pub access_key: Secret,
    /// Another server than Azure's, as a URL.
    pub endpoint: String,
    /// Tenant of a service principal.
    pub tenant_id: String,
    /// A service principal.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Whether `http://` endpoints are allowed.
    pub allow_http: bool,
    /// Talk to the emulator Azurite.
    pub use_emulator: bool,
}

/// Bounds of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestConfig {
    /// Requests under way at once.
    pub concurrency: usize,
    /// The longest that one request may take; writes get a second more per MiB.
    pub timeout: DurationNs,
    /// How often a failed request is made again.
    pub max_retries: u32,
    /// The pause before the first repetition; it doubles each time.
    pub retry_backoff: DurationNs,
    /// The longest pause.
    pub retry_backoff_max: DurationNs,
    /// A read that has no answer for so long is asked for a second time, if few requests are under
    /// way, and the first answer counts. 0 never does that; a directory is never asked twice.
    pub hedge_after: DurationNs,
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self {
            concurrency: 64,
            timeout: DurationNs::from_secs(30),
            max_retries: 4,
            retry_backoff: DurationNs::from_millis(100),
            retry_backoff_max: DurationNs::from_secs(5),
            hedge_after: DurationNs::from_millis(500),
        }
    }
}

/// Bounds of caches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Parsed label indexes.
    pub index: ByteSize,
    /// Parsed meta regions of data objects.
    pub metadata: ByteSize,
    /// Blocks of data objects: bytes as they are stored, and what searches have decoded of them.
    pub blocks: ByteSize,
    /// Parts of index files and data objects on a local disk, which outlive a restart; 0 keeps
    /// none. The last 2 GiB of the disk, or the last tenth of a small one, are left to others. A store that is a
    /// directory has no use for it.
    pub disk: ByteSize,
    /// Where; empty means `cache` in the data directory.
    pub disk_directory: PathBuf,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            index: ByteSize::mib(64),
            metadata: ByteSize::mib(32),
            blocks: ByteSize::mib(256),
            disk: ByteSize::mib(4096),
            disk_directory: PathBuf::new(),
        }
    }
}

/// Bounds of the manifest reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConfig {
    /// How often partitions in use are looked at for what others committed.
    pub poll_interval: DurationNs,
    /// The same for days that ended more than an hour ago.
    pub poll_interval_old: DurationNs,
    /// After how many manifest entries a checkpoint is written. Whoever starts reads the last one and
    /// what follows it, each with a request; a checkpoint says in a few kilobytes what there is.
    pub checkpoint_every: u64,
    /// For so long after a delete request was carried out its lines are left out all the same: an
    /// ingester that was down may still have some of them. Lines that match and are pushed until
    /// then are deleted too. At least an hour is kept to.
    pub deletes_obeyed: DurationNs,
    /// Partitions (tenant and day) whose manifest is kept in memory.
    pub partitions_max: usize,
    /// Partitions that nobody asked for so long are dropped from memory.
    pub partition_idle: DurationNs,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            poll_interval: DurationNs::from_secs(10),
            poll_interval_old: DurationNs::from_secs(300),
            checkpoint_every: 2,
            deletes_obeyed: DurationNs::from_secs(24 * 3600),
            partitions_max: 10_000,
            partition_idle: DurationNs::from_secs(3600),
        }
    }
}

/// A secret of a configuration: neither printed nor logged.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    /// The secret, unless it is empty.
    #[must_use]
    pub fn reveal(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }

    fn cover(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "<secret>" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cover())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.cover())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_and_secrets_are_not_printed() {
        let config: StorageConfig = serde_json::from_str(
            r#"{"backend":"s3","s3":{"bucket":"logs","secret_access_key":"hush"}}"#,
        )
        .unwrap();
        assert_eq!(config.s3.secret_access_key.reveal(), Some("hush"));
        let printed = serde_json::to_string(&config).unwrap();
        assert!(!printed.contains("hush") && !format!("{config:?}").contains("hush"));
        assert!(serde_json::from_str::<StorageConfig>(r#"{"s3":{"buckets":"x"}}"#).is_err());
    }
}
