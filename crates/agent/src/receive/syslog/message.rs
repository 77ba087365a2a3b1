//! A message as <https://www.rfc-editor.org/rfc/rfc5424> has it, or as
//! <https://www.rfc-editor.org/rfc/rfc3164> found it.

use crate::discover::Labels;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Rfc5424,
    Rfc3164,
}

/// A message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SyslogMessage {
    priority: u8,
    pub(super) timestamp_ns: Option<i64>,
    host: String,
    app: String,
    process: String,
    id: String,
    /// Element, name, value.
    structured: Vec<(String, String, String)>,
    pub(super) text: Vec<u8>,
}

const SEVERITIES: [&str; 8] = [
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "informational",
    "debug",
];
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

impl SyslogMessage {
    /// Reads a message. `now` completes a time without a year.
    pub(super) fn parse(format: Format, bytes: &[u8], now: jiff::Timestamp) -> Option<Self> {
        let rest = bytes.trim_ascii_end().strip_prefix(b"<")?;
        let end = memchr::memchr(b'>', rest).filter(|end| *end <= 3)?;
        let (priority, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let priority: u8 = std::str::from_utf8(priority).ok()?.parse().ok()?;
        if priority > 191 {
            return None;
        }
        let mut message = match format {
            Format::Rfc5424 => rfc5424(rest)?,
            Format::Rfc3164 => rfc3164(rest, now),
        };
        message.priority = priority;
        Some(message)
    }

    pub(super) fn put_labels(&self, labels: &mut Labels, with_structured: bool) {
        let severity = SEVERITIES.get(usize::from(self.priority % 8));
        let facility = FACILITIES.get(usize::from(self.priority / 8));
        for (name, value) in [
            ("severity", severity.copied().unwrap_or_default()),
            ("facility", facility.copied().unwrap_or_default()),
            ("hostname", self.host.as_str()),
            ("app_name", self.app.as_str()),
            ("proc_id", self.process.as_str()),
            ("msg_id", self.id.as_str()),
        ] {
            if !value.is_empty() {
                labels.insert(format!("__syslog_message_{name}"), value.to_owned());
            }
        }
        for (element, name, value) in self.structured.iter().filter(|_| with_structured) {
            let name = format!("__syslog_message_sd_{element}_{name}");
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            labels.insert(name, value.clone());
        }
    }
}

/// The next word; `-` is none.
fn word<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after.strip_prefix(b" ").unwrap_or(after);
    let word = std::str::from_utf8(word).ok()?;
    Some(if word == "-" { "" } else { word })
}

fn rfc5424(mut rest: &[u8]) -> Option<SyslogMessage> {
    let rest = &mut rest;
    if word(rest)? != "1" {
        return None;
    }
    let time: Option<jiff::Timestamp> = word(rest)?.parse().ok();
    let mut message = SyslogMessage {
        timestamp_ns: time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()),
        host: word(rest)?.to_owned(),
        app: word(rest)?.to_owned(),
        process: word(rest)?.to_owned(),
        id: word(rest)?.to_owned(),
        ..SyslogMessage::default()
    };
    if rest.first() == Some(&b'[') {
        while rest.first() == Some(&b'[') {
            element(rest, &mut message.structured)?;
        }
    } else {
        word(rest)?;
    }
    let text = rest.strip_prefix(b" ").unwrap_or(rest);
    message.text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).to_vec();
    Some(message)
}

/// `[id name="value" ...]`, in which a backslash stands before `"`, `\` and `]`.
fn element(rest: &mut &[u8], all: &mut Vec<(String, String, String)>) -> Option<()> {
    let text = rest.get(1..)?;
    let mut at = text.iter().position(|byte| matches!(byte, b' ' | b']'))?;
    let id = std::str::from_utf8(text.get(..at)?).ok()?;
    while text.get(at) == Some(&b' ') {
        let pair = text.get(at + 1..)?;
        let equals = memchr::memchr(b'=', pair)?;
        let name = std::str::from_utf8(pair.get(..equals)?).ok()?;
        if pair.get(equals + 1) != Some(&b'"') {
            return None;
        }
        let (mut value, mut end) = (Vec::new(), equals + 2);
        loop {
            match *pair.get(end)? {
                b'"' => break,
                b'\\' if matches!(pair.get(end + 1)?, b'"' | b'\\' | b']') => {
                    value.push(*pair.get(end + 1)?);
                    end += 2;
                }
                byte => {
                    value.push(byte);
                    end += 1;
                }
            }
        }
        let value = String::from_utf8_lossy(&value).into_owned();
        all.push((id.to_owned(), name.to_owned(), value));
        at += 1 + end + 1;
    }
    if text.get(at) != Some(&b']') {
        return None;
    }
    *rest = text.get(at + 1..)?;
    Some(())
}

/// `Jan  2 03:04:05 host app[12]: text`; what is missing is left out.
fn rfc3164(rest: &[u8], now: jiff::Timestamp) -> SyslogMessage {
    let mut message = SyslogMessage::default();
    let mut text = rest;
    let time = rest.get(..15).and_then(|time| time_of(time, now));
    if let Some(ns) = time {
        message.timestamp_ns = Some(ns);
        text = rest.get(15..).unwrap_or_default().trim_ascii_start();
        message.host = word(&mut text).unwrap_or_default().to_owned();
    }
    let tag = text.iter().position(|byte| matches!(byte, b':' | b' '));
    if let Some(end) = tag.filter(|end| text.get(*end) == Some(&b':')) {
        let tag = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned();
        match tag.split_once('[') {
            Some((app, process)) => {
                message.app = app.to_owned();
                message.process = process.trim_end_matches(']').to_owned();
            }
            None => message.app = tag,
        }
        text = text.get(end + 1..).unwrap_or_default().trim_ascii_start();
    }
    message.text = text.to_vec();
    message
}

/// The time is in the year that puts it nearest to now.
fn time_of(text: &[u8], now: jiff::Timestamp) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let utc = jiff::tz::TimeZone::UTC;
    let year = utc.to_datetime(now).year();
    let in_year = |year: i16| {
        let text = format!("{year} {text}");
        let time = jiff::civil::DateTime::strptime("%Y %b %e %H:%M:%S", text).ok()?;
        let time = utc.to_timestamp(time).ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    };
    let now_ns = i64::try_from(now.as_nanosecond()).ok()?;
    let times = [year - 1, year, year + 1].into_iter().filter_map(in_year);
    times.min_by_key(|time| time.abs_diff(now_ns))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> jiff::Timestamp {
        "2026-01-01T00:00:10Z".parse().unwrap()
    }

    fn labels(message: &SyslogMessage) -> Vec<String> {
        let mut labels = Labels::new();
        message.put_labels(&mut labels, true);
        let short = |(name, value): (&String, &String)| {
            format!("{}={value}", name.trim_start_matches("__syslog_message_"))
        };
        labels.iter().map(short).collect()
    }

    #[test]
    fn a_message_of_rfc_5424() {
        let text = b"<165>1 2026-01-02T03:04:05.000003Z host app 12 ID47 \
                     [ex@1 a=\"1\" b=\"q\\\"\\]\"][x@2] \xef\xbb\xbfthe text\n";
        let message = SyslogMessage::parse(Format::Rfc5424, text, now()).unwrap();
        assert_eq!(message.text, b"the text");
        assert_eq!(message.timestamp_ns, Some(1_767_323_045_000_003_000));
        assert_eq!(
            labels(&message),
            [
                "app_name=app",
                "facility=local4",
                "hostname=host",
                "msg_id=ID47",
                "proc_id=12",
                "sd_ex_1_a=1",
                "sd_ex_1_b=q\"]",
                "severity=notice",
            ]
        );
        let text = b"<0>1 - - - - - -";
        let message = SyslogMessage::parse(Format::Rfc5424, text, now()).unwrap();
        assert_eq!(labels(&message), ["facility=kern", "severity=emergency"]);
        assert!(message.text.is_empty() && message.timestamp_ns.is_none());
    }

    #[test]
    fn a_message_of_rfc_3164() {
        let text = b"<34>Dec 31 23:59:50 host su[7]: failed: x";
        let message = SyslogMessage::parse(Format::Rfc3164, text, now()).unwrap();
        assert_eq!(message.text, b"failed: x");
        // Last year, since that is nearer.
        assert_eq!(message.timestamp_ns, Some(1_767_225_590_000_000_000));
        assert_eq!(
            labels(&message),
            [
                "app_name=su",
                "facility=auth",
                "hostname=host",
                "proc_id=7",
                "severity=critical"
            ]
        );
        let message = SyslogMessage::parse(Format::Rfc3164, b"<34>only text", now()).unwrap();
        assert_eq!(message.text, b"only text");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "<",
            "<1",
            "<999>1 x",
            "<1>2 - - - - - -",
            "<1>1 - - - - - [x a",
            "x",
        ] {
            let parsed = SyslogMessage::parse(Format::Rfc5424, text.as_bytes(), now());
            assert_eq!(parsed, None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..80)) {
            for format in [Format::Rfc5424, Format::Rfc3164] {
                let _ = SyslogMessage::parse(format, &text, now());
                let framed = [b"<1>1 - a b c d ".as_slice(), &text].concat();
                let _ = SyslogMessage::parse(format, &framed, now());
            }
        }
    }
}
