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
use crate::positions::Book;

/// The longest wait before `journalctl` is started again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Records that are given at once.
const LINES_AT_ONCE: usize = 256;

/// Follows the journal for one job.
pub(crate) struct Journal {
    at: usize,
    job: ScrapeConfig,
    config: JournalConfig,
    intake: Intake,
    book: Arc<Book>,
    /// When this agent began, in microseconds since 1970: records from before may have been sent by
    /// one that did not live to note it.
    began_us: i64,
}

impl Journal {
    pub(crate) fn new(
        at: usize,
        job: &ScrapeConfig,
        config: &JournalConfig,
        intake: Intake,
        book: Arc<Book>,
        began_ns: i64,
    ) -> Self {
        Self {
            at,
            job: job.clone(),
            config: config.clone(),
            intake,
            book,
            began_us: began_ns / 1_000,
        }
    }

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
            if is_whole && let Some((line, at)) = self.received(&record) {
                *cursor = Some(at);
                lines.extend(line);
            }
            if lines.len() >= LINES_AT_ONCE || !out.buffer().contains(&b'\n') {
                self.intake.give(std::mem::take(&mut lines)).await;
            }
        }
    }

    /// The line of a record, if it is not dropped, and where the journal goes on after it.
    fn received(&self, record: &[u8]) -> Option<(Option<Received>, String)> {
        let fields: BTreeMap<String, Value> = serde_json::from_slice(record).ok()?;
        let cursor = fields.get("__CURSOR")?.as_str()?.to_owned();
        let micros = fields.get("__REALTIME_TIMESTAMP").and_then(text);
        let micros: Option<i64> =
            micros.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        let mut labels: Labels = self.config.labels.clone();
        for (name, value) in &fields {
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
            fields.get("MESSAGE").and_then(text).unwrap_or_default()
        };
        let received = relabelled(&self.job, labels).map(|labels| Received {
            job: self.at,
            labels,
            timestamp_ns: micros.map(|micros| micros.saturating_mul(1000)),
            line,
            metadata: Vec::new(),
            cursor: Some(Cursor {
                source: "".into(),
                at: cursor.as_str().into(),
            }),
            may_repeat: micros.is_some_and(|micros| micros < self.began_us),
        });
        Some((received, cursor))
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
    use super::*;
    use crate::positions::Loaded;

    fn journal(json: bool) -> Journal {
        let yaml = format!(
            "{{job_name: j, journal: {{json: {json}, labels: {{job: systemd}}}}, relabel_configs: \
             [{{source_labels: [__journal__systemd_unit], target_label: unit}}, \
              {{source_labels: [__journal_priority_keyword], target_label: level}}]}}"
        );
        let job: ScrapeConfig = serde_yaml::from_str(&yaml).unwrap();
        let config = job.journal.clone().unwrap();
        let intake = Intake::new(Vec::new(), Arc::default());
        let book = Arc::new(Book::new(Loaded::default()));
        Journal::new(0, &job, &config, intake, book, i64::MAX)
    }

    #[test]
    fn a_record_is_a_line_with_labels() {
        let record = br#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1700000000000001",
            "MESSAGE":[104,105,255],"_SYSTEMD_UNIT":"a.service","PRIORITY":"4","X":["1","2"]}"#;
        let (line, cursor) = journal(false).received(record).unwrap();
        let line = line.unwrap();
        assert_eq!(cursor, "s=1;i=2");
        assert_eq!(line.line, b"hi\xff");
        assert_eq!(line.timestamp_ns, Some(1_700_000_000_000_001_000));
        let labels: Vec<_> = line
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(labels, ["job=systemd", "level=warning", "unit=a.service"]);
        let (line, _) = journal(true).received(record).unwrap();
        let json: Value = serde_json::from_slice(&line.unwrap().line).unwrap();
        assert_eq!((&json["X"], &json["PRIORITY"]), (&"1".into(), &"4".into()));
        assert!(journal(false).received(b"{}").is_none());
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
