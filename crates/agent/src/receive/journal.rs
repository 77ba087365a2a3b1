//! The journal of systemd, through `journalctl`, which knows all formats of all versions of it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::config::{JournalConfig, ScrapeConfig};
use crate::discover::Labels;
use crate::feed::{Cursor, Intake, Received, relabelled};
use crate::metrics::{Metrics, NoLine};
use crate::positions::Book;

/// The longest wait before `journalctl` is started again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Records that are given at once.
const LINES_AT_ONCE: usize = 256;

/// What a record says.
type Fields = BTreeMap<String, Value>;

/// Follows the journal for one job.
pub(crate) struct Journal {
    /// The place of the job in the configuration.
    pub(crate) at: usize,
    pub(crate) job: ScrapeConfig,
    pub(crate) config: JournalConfig,
    pub(crate) intake: Intake,
    pub(crate) book: Arc<Book>,
    pub(crate) metrics: Metrics,
    /// When this agent began, in microseconds since 1970: records from before may have been sent by
    /// one that did not live to note it.
    pub(crate) began_us: i64,
}

impl Journal {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut cursor = self.book.cursor(&self.job.job_name, "");
        let mut wait = Duration::from_secs(1);
        loop {
            let before = cursor.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow(&mut cursor) => {
                    let error = followed.err().map(|error| error.to_string());
                    tracing::warn!(job = self.job.job_name, error, "journalctl has ended");
                }
            }
            wait = if cursor == before {
                (wait * 2).min(WAIT_MAX)
            } else {
                Duration::from_secs(1)
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn command(&self, cursor: Option<&str>) -> Command {
        let mut command = Command::new(&self.config.journalctl);
        command.args([
            "--follow",
            "--all",
            "--output=json",
            "--no-pager",
            "--quiet",
        ]);
        match cursor {
            Some(cursor) => command.arg(format!("--after-cursor={cursor}")),
            None => {
                let seconds = self.config.max_age.as_std().as_secs();
                command.args(["--lines=all", &format!("--since=-{seconds}s")])
            }
        };
        if cursor.is_some() {
            command.arg("--lines=all");
        }
        if !self.config.path.as_os_str().is_empty() {
            command.arg("--directory").arg(&self.config.path);
        }
        command.args(self.config.matches.split_whitespace());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn follow(&self, cursor: &mut Option<String>) -> std::io::Result<()> {
        let mut child: Child = self.command(cursor.as_deref()).spawn()?;
        let Some(out) = child.stdout.take() else {
            return Ok(());
        };
        let mut out = BufReader::new(out);
        let (mut record, mut lines) = (Vec::new(), Vec::new());
        loop {
            let Some(is_whole) = read_record(&mut out, &mut record).await? else {
                self.intake.give(lines).await;
                return Ok(());
            };
            lines.extend(self.take(&record, is_whole, cursor));
            if lines.len() >= LINES_AT_ONCE || !out.buffer().contains(&b'\n') {
                self.intake.give(std::mem::take(&mut lines)).await;
            }
        }
    }

    /// The line of a record, if it makes one; else counts why not. Goes on after it.
    fn take(&self, record: &[u8], is_whole: bool, cursor: &mut Option<String>) -> Option<Received> {
        let fields = if is_whole {
            self.fields(record, cursor)
        } else {
            Err(NoLine::TooLong)
        };
        match fields.and_then(|fields| self.received(&fields, cursor.as_deref())) {
            Ok(received) => {
                self.metrics.journal_lines.inc();
                Some(received)
            }
            Err(why) => {
                self.metrics.no_line(why);
                if matches!(why, NoLine::TooLong | NoLine::Malformed) {
                    let (job, after) = (&self.job.job_name, cursor.as_deref());
                    let why = why.name();
                    tracing::error!(job, after, why, "a record of the journal is lost");
                }
                None
            }
        }
    }

    /// What a record says, and where the journal goes on after it.
    fn fields(&self, record: &[u8], cursor: &mut Option<String>) -> Result<Fields, NoLine> {
        let fields: Fields = serde_json::from_slice(record).map_err(|_| NoLine::Malformed)?;
        let at = fields.get("__CURSOR").and_then(Value::as_str);
        *cursor = Some(at.ok_or(NoLine::Malformed)?.to_owned());
        Ok(fields)
    }

    fn received(&self, fields: &Fields, cursor: Option<&str>) -> Result<Received, NoLine> {
        let micros = fields.get("__REALTIME_TIMESTAMP").and_then(text);
        let micros: Option<i64> =
            micros.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        let mut labels: Labels = self.config.labels.clone();
        for (name, value) in fields {
            if let Some(value) = text(value) {
                let name = format!("__journal_{}", name.to_lowercase());
                labels.insert(name, String::from_utf8_lossy(&value).into_owned());
            }
        }
        if let Some(priority) = labels
            .get("__journal_priority")
            .and_then(|text| keyword(text))
        {
            labels.insert("__journal_priority_keyword".to_owned(), priority.to_owned());
        }
        let line = if self.config.json {
            let text = |(name, value): (&String, &Value)| {
                let value = text(value).unwrap_or_default();
                (
                    name.clone(),
                    String::from_utf8_lossy(&value).into_owned().into(),
                )
            };
            let fields: serde_json::Map<String, Value> = fields.iter().map(text).collect();
            Value::Object(fields).to_string().into_bytes()
        } else {
            let message = fields.get("MESSAGE").and_then(text);
            message.ok_or(NoLine::NoMessage)?
        };
        let labels = relabelled(&self.job, labels).filter(|labels| !labels.is_empty());
        Ok(Received {
            job: self.at,
            labels: labels.ok_or(NoLine::NoLabels)?,
            timestamp_ns: micros.map(|micros| micros.saturating_mul(1000)),
            line,
            metadata: Vec::new(),
            cursor: cursor.map(|at| Cursor {
                source: "".into(),
                at: at.into(),
            }),
            may_repeat: micros.is_some_and(|micros| micros < self.began_us),
        })
    }
}

/// Reads the next record: whether all of it; of one that is too long the rest is passed over. Nothing
/// at the end.
async fn read_record(
    out: &mut (impl AsyncBufRead + Unpin),
    record: &mut Vec<u8>,
) -> std::io::Result<Option<bool>> {
    record.clear();
    let mut is_whole = true;
    loop {
        let part = out.fill_buf().await?;
        let end = memchr::memchr(b'\n', part);
        let len = end.map_or(part.len(), |end| end + 1);
        if len == 0 {
            return Ok((!record.is_empty()).then_some(is_whole));
        }
        is_whole &= record.len() + len <= RECORD_BYTES_MAX;
        if is_whole {
            record.extend_from_slice(part.get(..len).unwrap_or_default());
        }
        out.consume(len);
        if end.is_some() {
            return Ok(Some(is_whole));
        }
    }
}

/// A field: text, bytes that are no text, or the first of several.
fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(items) if items.iter().all(Value::is_u64) => {
            let byte = |item: &Value| u8::try_from(item.as_u64()?).ok();
            items.iter().map(byte).collect()
        }
        Value::Array(items) => text(items.first()?),
        _ => None,
    }
}

fn keyword(priority: &str) -> Option<&'static str> {
    let names = [
        "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug",
    ];
    names.get(priority.parse::<usize>().ok()?).copied()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::positions::Loaded;

    fn journal(json: bool) -> Journal {
        let yaml = format!(
            "{{job_name: j, journal: {{json: {json}, labels: {{job: systemd}}}}, relabel_configs: \
             [{{source_labels: [__journal__systemd_unit], target_label: unit}}, \
              {{source_labels: [__journal_priority_keyword], target_label: level}}]}}"
        );
        let job: ScrapeConfig = serde_yaml::from_str(&yaml).unwrap();
        Journal {
            at: 0,
            config: job.journal.clone().unwrap(),
            job,
            intake: Intake::new(Vec::new(), Arc::default()),
            book: Arc::new(Book::new(Loaded::default())),
            metrics: Metrics::register(&mut Registry::default()),
            began_us: i64::MAX,
        }
    }

    #[test]
    fn a_record_is_a_line_with_labels() {
        let record = br#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1700000000000001",
            "MESSAGE":[104,105,255],"_SYSTEMD_UNIT":"a.service","PRIORITY":"4","X":["1","2"]}"#;
        let mut cursor = None;
        let line = journal(false).take(record, true, &mut cursor).unwrap();
        assert_eq!(cursor.as_deref(), Some("s=1;i=2"));
        assert_eq!(&*line.cursor.unwrap().at, "s=1;i=2");
        assert_eq!(line.line, b"hi\xff");
        assert_eq!(line.timestamp_ns, Some(1_700_000_000_000_001_000));
        let labels: Vec<_> = line
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(labels, ["job=systemd", "level=warning", "unit=a.service"]);
        let line = journal(true).take(record, true, &mut cursor).unwrap();
        let json: Value = serde_json::from_slice(&line.line).unwrap();
        assert_eq!((&json["X"], &json["PRIORITY"]), (&"1".into(), &"4".into()));
    }

    #[test]
    fn what_makes_no_line_is_counted_by_its_reason() {
        let mut registry = Registry::default();
        let mut journal = journal(false);
        journal.metrics = Metrics::register(&mut registry);
        journal.config.labels.clear();
        let mut cursor = None;
        let named = br#"{"__CURSOR":"1","MESSAGE":"m","PRIORITY":"4"}"#;
        for (record, is_whole, after) in [
            (&b"{}"[..], true, None),
            (b"{1}", true, None),
            (named, true, Some("1")),
            (br#"{"__CURSOR":"2","MESSAGE":"m"}"#, true, Some("2")),
            (br#"{"__CURSOR":"3","PRIORITY":"4"}"#, true, Some("3")),
            (b"", false, Some("3")),
        ] {
            let line = journal.take(record, is_whole, &mut cursor);
            assert_eq!(line.is_some(), record == named);
            assert_eq!(cursor.as_deref(), after);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for (error, count) in [
            ("malformed", 2),
            ("empty_labels", 1),
            ("no_message", 1),
            ("too_long", 1),
        ] {
            let sample = format!("parsing_errors_total{{error=\"{error}\"}} {count}\n");
            assert!(text.contains(&sample), "{sample} in {text}");
        }
        assert!(text.contains("promtail_journal_target_lines_total 1\n"));
    }

    #[tokio::test]
    async fn a_record_that_is_too_long_is_passed_over() {
        let long = vec![b'x'; RECORD_BYTES_MAX];
        let text = [b"{}\n", long.as_slice(), b"\n{1}\n{2"].concat();
        let (mut out, mut record) = (BufReader::new(text.as_slice()), Vec::new());
        let mut read = Vec::new();
        while let Some(is_whole) = read_record(&mut out, &mut record).await.unwrap() {
            assert!(record.len() <= RECORD_BYTES_MAX);
            read.push(is_whole.then(|| record.clone()));
        }
        let expected: [Option<Vec<u8>>; 4] = [
            Some(b"{}\n".into()),
            None,
            Some(b"{1}\n".into()),
            Some(b"{2".into()),
        ];
        assert!(read == expected, "{} records", read.len());
    }

    #[test]
    fn the_command_goes_on_after_the_cursor() {
        let arguments = |cursor: Option<&str>| -> Vec<String> {
            let command = journal(false).command(cursor);
            let all = command.as_std().get_args();
            all.map(|arg| arg.to_string_lossy().into_owned()).collect()
        };
        assert!(arguments(Some("c")).contains(&"--after-cursor=c".to_owned()));
        assert!(arguments(None).contains(&"--since=-25200s".to_owned()));
    }
}
