//! What the parts of an agent are, as its configuration says.

use std::sync::Arc;
use std::time::Duration;

use model::units::DurationNs;

use crate::batch::{BatchLimits, Batcher};
use crate::config::{ClientConfig, Config};
use crate::console::{Console, inspector};
use crate::deliver::{Deliver, HttpClient, HttpClientError};
use crate::discover::Watch;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, OutboxLimits, RateLimit};
use crate::reader::ReaderConfig;
use crate::stages::{Pipeline, StageError};
use crate::streams::JobStreams;
use crate::tail::generation::Unpacking;
use crate::tail::restore::Names;

/// How long the first line of a batch may wait for others where the process hands it to itself: there
/// is no request to save, and who has just done something looks for it.
const OWN_BATCH_WAIT: DurationNs = DurationNs::from_millis(200);

/// The client of a dry run.
const DRY_RUN: &str = "dry-run";
/// Bytes of a line that are read at most, whatever the limits say.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes that a line may have at least before its stages, since these may make it shorter.
const LINE_BYTES_MIN: usize = 1 << 20;
/// How often files are looked at where changes are told.
const POLL_MIN: Duration = Duration::from_secs(1);
/// The same for files that have not changed for long.
const POLL_MAX: Duration = Duration::from_secs(5);

/// Someone who takes what is collected.
pub(super) struct Recipient {
    pub(super) config: ClientConfig,
    pub(super) deliver: Arc<dyn Deliver>,
    pub(super) host: String,
}

pub(super) fn recipients(
    config: &Config,
    own: Option<(String, Arc<dyn Deliver>)>,
    metrics: &Metrics,
) -> Result<Vec<Recipient>, HttpClientError> {
    let mut recipients = Vec::new();
    if config.is_dry_run {
        return Ok(vec![Recipient {
            config: ClientConfig {
                name: DRY_RUN.to_owned(),
                ..ClientConfig::default()
            },
            deliver: Arc::new(Console::new(std::io::stdout())),
            host: DRY_RUN.to_owned(),
        }]);
    }
    if let Some((name, deliver)) = own {
        let config = ClientConfig {
            name: name.clone(),
            batchwait: OWN_BATCH_WAIT,
            ..ClientConfig::default()
        };
        recipients.push(Recipient {
            config,
            deliver,
            host: name,
        });
    }
    for config in config.all_clients() {
        let url = reqwest::Url::parse(&config.url).ok();
        let host = url.and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(
                url.port()
                    .map_or(host.clone(), |port| format!("{host}:{port}")),
            )
        });
        let host = host.unwrap_or_else(|| config.name());
        let deliver = HttpClient::new(config, metrics.client(&host))?;
        recipients.push(Recipient {
            config: config.clone(),
            deliver: Arc::new(deliver),
            host,
        });
    }
    Ok(recipients)
}

pub(super) fn pipelines(
    config: &Config,
    metrics: &crate::stages::Metrics,
) -> Result<Vec<Pipeline>, StageError> {
    let pipeline = |job: &crate::config::ScrapeConfig| {
        let (stages, name) = (&job.pipeline_stages, &job.job_name);
        if config.is_inspecting {
            Pipeline::inspected(stages, name, metrics, inspector(name))
        } else {
            Pipeline::new(stages, name, metrics)
        }
    };
    config.scrape_configs.iter().map(pipeline).collect()
}

pub(super) fn reader_config(
    config: &Config,
    recipients: &[Recipient],
    recipient: &Recipient,
    watch: &Watch,
    absent_at_ns: i64,
) -> ReaderConfig {
    let poll = &config.global.file_watch_config;
    let (poll_min, poll_max) = if watch.is_complete() {
        (POLL_MIN, POLL_MAX)
    } else {
        (
            poll.min_poll_frequency.as_std(),
            poll.max_poll_frequency.as_std(),
        )
    };
    let line_max = config.limits_config.max_line_size.as_usize();
    ReaderConfig {
        client: recipient.config.name().into(),
        names: Names {
            clients: recipients
                .iter()
                .map(|recipient| recipient.config.name())
                .collect(),
            jobs: config
                .scrape_configs
                .iter()
                .map(|job| job.job_name.clone())
                .collect(),
        },
        job_names: config
            .scrape_configs
            .iter()
            .map(|job| job.job_name.clone())
            .collect(),
        absent_at_ns,
        line_bytes_max: match line_max {
            0 => LINE_BYTES_MAX,
            max => max.saturating_mul(8).clamp(LINE_BYTES_MIN, LINE_BYTES_MAX),
        },
        poll_min: poll_min.max(Duration::from_millis(10)),
        poll_max: poll_max.max(poll_min),
        deleted_hold_max: config.target_config.deleted_hold_max.as_std(),
        unpacking: Unpacking {
            scratch: match config.positions.filename.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => ".".into(),
            },
            bytes_max: config.target_config.unpacked_size_max.0,
        },
    }
}

pub(super) fn outbox(config: &Config, recipient: &Recipient, metrics: &Metrics) -> Outbox {
    let (limits, client) = (&config.limits_config, &recipient.config);
    let batch_limits = BatchLimits {
        bytes_max: client.batchsize.as_usize(),
        wait_max: client.batchwait.as_std(),
        streams_max: limits.max_streams,
        // A bound on the streams of a batch means those of all that is sent at once.
        lanes: match limits.max_streams {
            0 => client.max_requests_in_flight,
            _ => 1,
        },
        external_labels: client.external_labels.clone(),
    };
    let names = config.scrape_configs.iter();
    let names = names.map(|job| job.job_name.clone());
    let batcher = Batcher::new(batch_limits, JobStreams::new(names, limits.job_streams_max));
    let rate = limits.readline_rate_enabled.then_some(RateLimit {
        lines_per_second: limits.readline_rate,
        burst: limits.readline_burst as f64,
        drops: limits.readline_rate_drop,
    });
    let limits = OutboxLimits {
        line_bytes_max: limits.max_line_size.as_usize(),
        is_line_cut: limits.max_line_size_truncate,
        owed_bytes_max: limits.unacknowledged_size_max.as_usize(),
        rate,
    };
    Outbox::new(batcher, limits, metrics.client(&recipient.host))
}
