//! The section `registry` of the configuration.

use std::path::PathBuf;

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};
use server::{ListenAddr, TlsConfig};
use storage::{Secret, StorageConfig};

use crate::forwarded::{ForwardedHeader, Network};
use crate::logs::LogConfig;

/// How a registry is served and what it accepts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `skald serve` has a registry.
    pub enabled: bool,
    /// Where clients push and pull.
    pub listen: ListenAddr,
    /// The certificate that clients are shown.
    pub tls: TlsConfig,
    /// What clients reach it by, such as `https://registry.example.org`; empty means as they ask.
    pub external_url: String,
    /// Proxies, as addresses or networks (`10.0.0.0/8`), which are believed when they say for whom
    /// they ask. Without them all who come through one have its address: in the log, and where wrong
    /// passwords are counted.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they say it.
    pub forwarded_header: ForwardedHeader,
    /// Who may do what.
    pub auth: AuthMode,
    /// How long a token holds that was given for a login; no longer than its robot, and not any more
    /// once rights of its owner are taken away.
    pub token_lifetime: DurationNs,
    /// How long a client may ask for tokens without showing its password again; 0 lets none.
    pub refresh_lifetime: DurationNs,
    /// Whether `docker login` gets what it keeps instead of the password, for as long. Kubernetes and
    /// podman cannot use its file of logins then.
    pub identity_tokens: bool,
    /// How long one key signs tokens; then there is a new one. 0 is for ever.
    pub key_lifetime: DurationNs,
    /// The key that passwords of other registries are sealed with: a file with 32 random bytes in
    /// Base64. Empty means one in the data directory, made at the first start; processes that share
    /// a database need the same.
    pub seal_key_file: PathBuf,
    /// Where the facts are.
    pub database: DatabaseConfig,
    /// What of the facts is kept in memory.
    pub cache: CacheConfig,
    /// Where the bytes are. A directory unless configured: `registry/store` in the data directory.
    pub storage: StorageConfig,
    /// Pulls that the object store answers itself.
    pub redirect: RedirectConfig,
    /// What projects are at first.
    pub projects: ProjectConfig,
    /// Projects that are caches of other registries.
    pub proxy: ProxyConfig,
    /// Bounds of uploads.
    pub upload: UploadConfig,
    /// Bounds of manifests and lists.
    pub limits: LimitConfig,
    /// What is removed once nothing refers to it.
    pub gc: GcConfig,
    /// What is written down.
    pub log: LogConfig,
    /// What can be asked for of the audit trail.
    pub audit: AuditConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: ListenAddr::localhost(5000),
            tls: TlsConfig::default(),
            external_url: String::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            auth: AuthMode::None,
            token_lifetime: DurationNs::from_secs(300),
            refresh_lifetime: DurationNs::from_secs(30 * 24 * 3600),
            identity_tokens: false,
            key_lifetime: DurationNs::from_secs(90 * 24 * 3600),
            seal_key_file: PathBuf::new(),
            database: DatabaseConfig::default(),
            cache: CacheConfig::default(),
            storage: StorageConfig::default(),
            redirect: RedirectConfig::default(),
            projects: ProjectConfig::default(),
            proxy: ProxyConfig::default(),
            upload: UploadConfig::default(),
            limits: LimitConfig::default(),
            gc: GcConfig::default(),
            log: LogConfig::default(),
            audit: AuditConfig::default(),
        }
    }
}

/// Who may do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody may do everything: for a machine of one's own.
    #[default]
    None,
    /// Accounts and robots of the registry's own; nobody in particular may pull from public projects.
    Local,
}

/// What projects are at first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectConfig {
    /// Whether a push to a project that is not there makes it, for who may push to any.
    pub create_on_push: CreateOnPush,
    /// Bytes that a project may have of which nothing else is said; 0 is no bound.
    pub quota: ByteSize,
}

/// Whether a push to a project that is not there makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CreateOnPush {
    /// Where everybody may do everything. Where there are accounts, a name that was mistyped is
    /// refused.
    Auto,
    /// Always: where there are accounts, if it comes from an administrator or a robot that may push
    /// to any project.
    #[default]
    Always,
    /// Never.
    Never,
}

/// Where the facts are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/name`; empty means SQLite in the data directory.
    pub url: Secret,
    /// How long a PostgreSQL server has to answer a question, or to make changes; then the connection
    /// is given up, and who waits is told that the database does not answer.
    pub answer_timeout: DurationNs,
    /// Connections that read.
    pub readers: u32,
    /// Changes that one transaction makes durable together.
    pub batch_max: usize,
    /// Changes that may wait; one more is refused with 503.
    pub queue_max: usize,
    /// Bytes of the largest manifest that is in the database itself. Those of larger ones are in the
    /// store, as those of blobs are, so that no change waits until they are written.
    pub manifest_bytes_max: ByteSize,
    /// Bytes of the largest blob that is in the database itself, as configurations of images are: it is
    /// durable with its row, and nothing else is waited for. 0 has none there.
    pub blob_bytes_max: ByteSize,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            answer_timeout: DurationNs::from_secs(60),
            readers: 4,
            batch_max: 128,
            queue_max: 1024,
            manifest_bytes_max: ByteSize::kib(256),
            blob_bytes_max: ByteSize::kib(16),
        }
    }
}

/// What of the facts is kept in memory, for pulls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Bytes of manifests; 0 keeps none.
    pub manifest_bytes_max: ByteSize,
    /// Bytes of everything else: where blobs are, who people are, what tokens say.
    pub row_bytes_max: ByteSize,
    /// For how long, where several processes share a PostgreSQL database: another's change is seen
    /// so much later. With SQLite there is nobody else, and everything is seen at once.
    pub age_max: DurationNs,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            manifest_bytes_max: ByteSize::mib(16),
            row_bytes_max: ByteSize::mib(8),
            age_max: DurationNs::from_secs(1),
        }
    }
}

/// Pulls that the object store answers itself: the client is sent there with a signed address, so
/// that the bytes of blobs need not pass through here. Clients must be able to reach the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedirectConfig {
    /// Whether clients are sent there. A directory answers nobody.
    pub enabled: bool,
    /// Smaller blobs are not worth a second request.
    pub blob_size_min: ByteSize,
    /// How long an address is good for. Less than `gc.data_grace`.
    pub lifetime: DurationNs,
}

impl Default for RedirectConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            blob_size_min: ByteSize::mib(1),
            lifetime: DurationNs::from_secs(300),
        }
    }
}

/// Projects that are caches of other registries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// How long it may take to reach another registry.
    pub connect_timeout: DurationNs,
    /// How long it may take to answer, and to send more of what it has begun to send.
    pub answer_timeout: DurationNs,
    /// Blobs and lists that are fetched at once; who asks for one more waits as long as for an answer,
    /// and is refused with 429.
    pub fetches_max: usize,
    /// The same, from one registry: a slow one leaves the rest for others.
    pub upstream_fetches_max: usize,
    /// Bytes per second of a blob below which, for a minute, its fetch is given up; 0 is never.
    pub fetch_bytes_per_second_min: ByteSize,
    /// How long a blob goes on being fetched that nobody reads any more.
    pub unread_timeout: DurationNs,
    /// How long a tag points to the same, and a list has the same on it, once the other registry has said
    /// so.
    pub tag_lifetime: DurationNs,
    /// For how much longer it does for who asks, while the other registry is asked behind his back.
    pub tag_stale_while_revalidate: DurationNs,
    /// How long a tag or a digest is taken not to be there once the other registry has said so.
    pub unknown_lifetime: DurationNs,
    /// Bytes of all blobs that are on their way, on the disk until those who asked have read them.
    /// Who asks for one more waits as long as for an answer, and is refused with 429.
    pub spool_bytes_max: ByteSize,
    /// The part of that which blobs of one registry take at most, in percent: a slow one leaves the
    /// rest for others. A larger blob is not fetched.
    pub upstream_spool_percent_max: u64,
    /// Bytes of a list of tags, or of what is about a manifest, as another registry sends it. What is
    /// here is given instead of a longer one.
    pub list_bytes_max: ByteSize,
    /// Pages of such a list.
    pub list_pages_max: usize,
    /// Memory for all lists of tags, which are given also later while a registry fails, and the same
    /// for all of what is about manifests.
    pub lists_bytes_max: ByteSize,
    /// How long a registry that has failed is not asked about what is here.
    pub pause: DurationNs,
    /// The longest that a registry is not asked because it says so, with 429.
    pub pause_max: DurationNs,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            connect_timeout: DurationNs::from_secs(5),
            answer_timeout: DurationNs::from_secs(20),
            fetches_max: 128,
            upstream_fetches_max: 32,
            fetch_bytes_per_second_min: ByteSize::kib(1),
            unread_timeout: DurationNs::from_secs(30),
            tag_lifetime: DurationNs::from_secs(10),
            tag_stale_while_revalidate: DurationNs(0),
            unknown_lifetime: DurationNs::from_secs(10),
            spool_bytes_max: ByteSize::mib(32 << 10),
            upstream_spool_percent_max: 50,
            list_bytes_max: ByteSize::mib(16),
            list_pages_max: 1000,
            lists_bytes_max: ByteSize::mib(128),
            pause: DurationNs::from_secs(10),
            pause_max: DurationNs::from_secs(600),
        }
    }
}

/// Bounds of uploads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadConfig {
    /// The largest blob.
    pub blob_size_max: ByteSize,
    /// How long an upload that nobody continues is kept.
    pub expiry: DurationNs,
    /// Memory for large blobs that are written to files past the page cache, of all uploads
    /// together. What finds none free is written through the page cache, which costs more; 0 is for
    /// a disk on which pushes shall be in memory for the pulls after them.
    pub direct_bytes_max: ByteSize,
    /// Uploads of one project at once; one more is refused with 429.
    pub sessions_max: u32,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            blob_size_max: ByteSize::mib(100 << 10),
            expiry: DurationNs::from_secs(24 * 3600),
            direct_bytes_max: ByteSize::mib(16),
            sessions_max: 10_000,
        }
    }
}

/// Bounds of manifests and lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitConfig {
    /// The largest manifest.
    pub manifest_size_max: ByteSize,
    /// The largest configuration of an image of which is told what it says. Of one page of artifacts no
    /// more is read than sixteen of these have.
    pub config_size_max: ByteSize,
    /// Bytes of manifests and of requests of the management API that are being sent, all together; a
    /// request that brings more is refused with 429. No account, no robot, and of those who do not log in
    /// no address has more of it than it leaves to the others.
    pub body_bytes_max: ByteSize,
    /// Different blobs or manifests that one manifest may name: each is looked up while other
    /// changes wait.
    pub descriptors_max: usize,
    /// Names on one page of a list.
    pub page_max: u32,
    /// Tags that one push of a manifest may set. The answer has a header for each, and many clients take
    /// no more than 100 headers.
    pub tags_per_push_max: usize,
    /// Permissions of one robot, each for a project.
    pub robot_permissions_max: usize,
    /// Runs of garbage collection, and of the retention of each project, that can be asked for: so many
    /// that somebody started or scheduled, and so many others.
    pub executions_max: i64,
    /// Projects that have metrics of their own; more count as one.
    pub metric_projects_max: usize,
    /// Pushes to a project that has so much of its quota are answered with a warning; 0 is never.
    pub quota_warning_percent: u64,
    /// Whether an index may name manifests that are not there.
    pub allow_missing_manifests: bool,
    /// Whether an image may name blobs that are not there. Those that were there a while ago may be
    /// missing in no case.
    pub allow_missing_blobs: bool,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            manifest_size_max: ByteSize::mib(8),
            config_size_max: ByteSize::mib(1),
            body_bytes_max: ByteSize::mib(64),
            descriptors_max: 4096,
            page_max: 10_000,
            tags_per_push_max: 50,
            robot_permissions_max: 1000,
            executions_max: 100,
            metric_projects_max: 1000,
            quota_warning_percent: 85,
            allow_missing_manifests: true,
            allow_missing_blobs: true,
        }
    }
}

/// What is removed once nothing refers to it. It runs next to pushes and pulls: all the time, unless a
/// schedule was set while the registry ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcConfig {
    /// Whether anything is removed. If not, what could be is still counted.
    pub enabled: bool,
    /// How often is looked for what is due.
    pub interval: DurationNs,
    /// How long a manifest stays that lost its last tag or index, or that a cache has without any and
    /// that nobody pulls.
    pub untagged_grace: DurationNs,
    /// How long a manifest stays that was pushed by its digest and never had a tag or an index, from its
    /// last pull on; 0 is for ever: those who pull may name it by its digest only.
    pub never_tagged_grace: DurationNs,
    /// How long a blob stays that no manifest needs: a push has to finish within this time.
    pub blob_grace: DurationNs,
    /// How long retention and garbage collection leave alone what a cluster said that it runs.
    pub running_lifetime: DurationNs,
    /// The part of what a cluster said last that its next list may lack, in percent, unless that is
    /// said to be meant; a few images it may lack in any case.
    pub running_lost_percent_max: u64,
    /// How long bytes stay that no row names: a pull has to finish within this time.
    pub data_grace: DurationNs,
    /// When bytes are tried again that the store did not remove; half an hour at most.
    pub retry_delay: DurationNs,
    /// For how long it is known where a tag pointed. What is older is forgotten at the start and after
    /// each `sweep_interval`, but nothing that is younger than `untagged_grace`.
    pub tag_history_lifetime: DurationNs,
    /// Moves of one tag that are known; of more the oldest are forgotten in the same way.
    pub tag_history_max: u64,
    /// How often the store is compared with the database, to find bytes that a crash left behind.
    pub sweep_interval: DurationNs,
    /// The part of the objects in the store that such a comparison removes at most, in percent. If the
    /// database names less of them than that leaves, it may be the wrong one, and nothing is removed.
    pub sweep_orphans_percent_max: u64,
    /// Bytes per second that a comparison of the store with the database reads at most.
    pub fsck_bytes_per_second: ByteSize,
}

impl Default for GcConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: DurationNs::from_secs(10),
            untagged_grace: DurationNs::from_secs(24 * 3600),
            never_tagged_grace: DurationNs(0),
            blob_grace: DurationNs::from_secs(2 * 3600),
            running_lifetime: DurationNs::from_secs(24 * 3600),
            running_lost_percent_max: 50,
            data_grace: DurationNs::from_secs(15 * 60),
            retry_delay: DurationNs::from_secs(10 * 60),
            tag_history_lifetime: DurationNs::from_secs(365 * 24 * 3600),
            tag_history_max: 1000,
            sweep_interval: DurationNs::from_secs(24 * 3600),
            sweep_orphans_percent_max: 25,
            fsck_bytes_per_second: ByteSize::mib(64),
        }
    }
}

/// What can be asked for of the audit trail. All of it is in the log in any case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// How long a record can be asked for.
    pub lifetime: DurationNs,
    /// Records that can be asked for; of more the oldest go.
    pub records_max: u64,
    /// How many of these may tell of what was refused; of more the oldest go, so that who is refused
    /// again and again does not push out what was done.
    pub refusals_max: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            lifetime: DurationNs::from_secs(90 * 24 * 3600),
            records_max: 1_000_000,
            refusals_max: 250_000,
        }
    }
}
