//! What can be typed: logcli's flags and environment variables.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::tls::TlsArgs;

/// Where the server is and who asks.
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Address of the server
    #[arg(
        long,
        env = "LOKI_ADDR",
        default_value = "http://127.0.0.1:3100",
        value_name = "URL"
    )]
    pub addr: String,
    /// Tenant, sent as X-Scope-OrgID
    #[arg(long, env = "LOKI_ORG_ID", value_name = "ID")]
    pub org_id: Option<String>,
    /// User of HTTP basic authentication
    #[arg(long, env = "LOKI_USERNAME")]
    pub username: Option<String>,
    /// Password of HTTP basic authentication
    #[arg(long, env = "LOKI_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Token of HTTP bearer authentication
    #[arg(long, env = "LOKI_BEARER_TOKEN", hide_env_values = true)]
    pub bearer_token: Option<String>,
    /// File with the token of HTTP bearer authentication
    #[arg(long, env = "LOKI_BEARER_TOKEN_FILE", value_name = "FILE")]
    pub bearer_token_file: Option<PathBuf>,
    /// Another header, NAME: VALUE; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Tags that the server logs with the query, sent as X-Query-Tags
    #[arg(long, env = "LOKI_QUERY_TAGS")]
    pub query_tags: Option<String>,
    /// File with the certificate authority of the server
    #[arg(long, env = "LOKI_CA_CERT_PATH", value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// Do not verify the certificate of the server
    #[arg(long, env = "LOKI_TLS_SKIP_VERIFY", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub tls_skip_verify: bool,
    /// File with this client's certificate
    #[arg(
        long,
        env = "LOKI_CLIENT_CERT_PATH",
        value_name = "FILE",
        requires = "key"
    )]
    pub cert: Option<PathBuf>,
    /// File with the key of this client's certificate
    #[arg(
        long,
        env = "LOKI_CLIENT_KEY_PATH",
        value_name = "FILE",
        requires = "cert"
    )]
    pub key: Option<PathBuf>,
    /// Ask the server not to answer from a cache
    #[arg(long)]
    pub nocache: bool,
    /// How often a request that failed on its way, or with 429 or 5xx, is sent again
    #[arg(long, env = "LOKI_CLIENT_RETRIES", default_value_t = 0)]
    pub retries: u32,
    /// Print only the answer
    #[arg(short, long)]
    pub quiet: bool,
}

impl ClientArgs {
    pub(crate) fn tls(&self) -> TlsArgs<'_> {
        TlsArgs {
            ca_cert: self.ca_cert.as_deref(),
            skip_verify: self.tls_skip_verify,
            identity: self.cert.as_deref().zip(self.key.as_deref()),
        }
    }
}

/// A span of time.
#[derive(Clone, Debug, Args)]
pub struct TimeArgs {
    /// How far back to look
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub since: String,
    /// Begin: RFC 3339, or Unix seconds or nanoseconds
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// End (not included)
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// How lines are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputMode {
    /// Time, labels and line
    #[default]
    Default,
    /// The line alone
    Raw,
    /// One JSON object for each line
    Jsonl,
}

/// How times are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimestampFormat {
    /// 2026-01-15T00:00:00Z
    #[default]
    Rfc3339,
    /// 2026-01-15T00:00:00.123456789Z
    Rfc3339nano,
    /// Unix seconds
    Unix,
    /// Unix nanoseconds
    Unixnano,
}

/// How answers are printed.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// How lines are printed
    #[arg(short, long, value_enum, default_value_t, value_name = "MODE")]
    pub output: OutputMode,
    /// Print no labels
    #[arg(long)]
    pub no_labels: bool,
    /// Leave a label out; may be repeated
    #[arg(long = "exclude-label", value_name = "NAME")]
    pub exclude_labels: Vec<String>,
    /// Print only this label; may be repeated
    #[arg(long = "include-label", value_name = "NAME")]
    pub include_labels: Vec<String>,
    /// Print labels that all lines share on every line too
    #[arg(long)]
    pub include_common_labels: bool,
    /// Width of the labels' column
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub labels_length: usize,
    /// A colour for each stream, even where no terminal reads
    #[arg(long)]
    pub colored_output: bool,
    /// Time zone of printed times: Local, UTC or a name such as Europe/Berlin
    #[arg(short = 'z', long, default_value = "Local", value_name = "ZONE")]
    pub timezone: String,
    /// How times are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output_timestamp_format: TimestampFormat,
}

/// `skald query`
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// LogQL, such as '{app="web"} |= "error"'
    pub query: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub output: OutputArgs,
    /// Lines to print; 0 prints all
    #[arg(long, default_value_t = 30)]
    pub limit: usize,
    /// Lines to ask for at once
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// Oldest first
    #[arg(long)]
    pub forward: bool,
    /// Time between two points of a metric query
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// Least time between two lines of a log query
    #[arg(long, value_name = "DURATION")]
    pub interval: Option<String>,
    /// Print what the query cost, on standard error
    #[arg(long)]
    pub stats: bool,
    /// Say what the query has to read and what it read, instead of its lines
    #[arg(long, conflicts_with = "tail")]
    pub explain: bool,
    /// Go on with lines as they are pushed
    #[arg(short = 't', long)]
    pub tail: bool,
    /// With --tail: hold lines back for so many seconds, to bring streams in order
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub delay_for: u32,
}

/// `skald instant-query`
#[derive(Clone, Debug, Args)]
pub struct InstantArgs {
    /// LogQL, such as 'sum by (app) (rate({env="prod"}[5m]))'
    pub query: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    /// When: RFC 3339, or Unix seconds or nanoseconds; now if absent
    #[arg(long, value_name = "TIME")]
    pub now: Option<String>,
    /// Print what the query cost, on standard error
    #[arg(long)]
    pub stats: bool,
    /// Say what the query has to read and what it read, instead of its series
    #[arg(long)]
    pub explain: bool,
}

/// `skald labels`
#[derive(Clone, Debug, Args)]
pub struct LabelsArgs {
    /// The label whose values are wanted; none lists the names
    pub label: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
}

/// `skald series`
#[derive(Clone, Debug, Args)]
pub struct SeriesArgs {
    /// A stream selector
    #[arg(default_value = "{}")]
    pub matcher: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
    /// Count the values of each label instead of listing streams
    #[arg(long)]
    pub analyze_labels: bool,
}

/// `skald stats`
#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// A stream selector
    pub query: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
}

/// `skald volume`
#[derive(Clone, Debug, Args)]
pub struct VolumeArgs {
    /// A stream selector
    pub query: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
    /// Series to print, the largest
    #[arg(long, default_value_t = 30)]
    pub limit: usize,
    /// A label to add up by, instead of those of the selector; may be repeated
    #[arg(
        long = "targetLabels",
        alias = "target-labels",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub target_labels: Vec<String>,
    /// Add up by names of labels
    #[arg(long = "aggregateByLabels", alias = "aggregate-by-labels")]
    pub aggregate_by_labels: bool,
}

/// `skald volume_range`
#[derive(Clone, Debug, Args)]
pub struct VolumeRangeArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub volume: VolumeArgs,
    /// Time that is added up to one point
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub step: String,
}

/// How fields are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FieldsOutput {
    /// A line for each
    #[default]
    Default,
    /// The server's JSON
    Raw,
}

/// `skald detected-fields`
#[derive(Clone, Debug, Args)]
pub struct FieldsArgs {
    /// LogQL, such as '{app="web"} |= "error"'
    pub query: String,
    /// The field whose values are wanted; none lists the fields
    pub field: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
    /// How fields are printed
    #[arg(short, long, value_enum, default_value_t, value_name = "MODE")]
    pub output: FieldsOutput,
    /// Fields or values to print
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// Lines to look at
    #[arg(long, default_value_t = 1000)]
    pub line_limit: usize,
    /// Time between two points, if the query is one of series
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    pub step: String,
}

/// `skald delete`
#[derive(Clone, Debug, Subcommand)]
pub enum DeleteCommand {
    /// Ask for lines to be deleted
    Create(DeleteCreateArgs),
    /// List what was asked for
    List(DeleteListArgs),
    /// Take a request back
    Cancel(DeleteCancelArgs),
}

/// `skald delete create`
#[derive(Clone, Debug, Args)]
pub struct DeleteCreateArgs {
    /// Which lines: LogQL, such as '{app="web"} |= "secret"'
    pub query: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub time: TimeArgs,
    /// The longest time that the request is carried out at once for
    #[arg(long, value_name = "DURATION")]
    pub max_interval: Option<String>,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// For people
    #[default]
    Default,
    /// The server's JSON, indented
    Json,
}

/// `skald delete list`
#[derive(Clone, Debug, Args)]
pub struct DeleteListArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    /// How requests are printed
    #[arg(short, long, value_enum, default_value_t, value_name = "MODE")]
    pub output: ListOutput,
}

/// `skald delete cancel`
#[derive(Clone, Debug, Args)]
pub struct DeleteCancelArgs {
    /// The request's id
    #[arg(long, value_name = "ID")]
    pub request_id: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    /// Also if a part of it was carried out
    #[arg(long)]
    pub force: bool,
}

/// `skald tail`
#[derive(Clone, Debug, Args)]
pub struct TailArgs {
    /// LogQL, such as '{app="web"} |= "error"'
    pub query: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub client: ClientArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub output: OutputArgs,
    /// How far back to begin
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub since: String,
    /// Lines of the past to print first
    #[arg(long, default_value_t = 30)]
    pub limit: usize,
    /// Hold lines back for so many seconds, to bring streams in order
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub delay_for: u32,
}

/// `skald fmt`
#[derive(Clone, Debug, Args)]
pub struct FmtArgs {
    /// The query; read from standard input if absent
    pub query: Option<String>,
}
