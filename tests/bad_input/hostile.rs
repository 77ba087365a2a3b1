//! Questions that parse and are meant to hurt. Each is answered or refused in words, while pushes go
//! on, none of which is lost; and the process keeps to the memory that queries were given.

use serde_json::json;
use tests::api::{Api, PUSH};
use tests::lines::{self, SECOND_NS};

use crate::Siege;

const FORM: &str = "application/x-www-form-urlencoded";
const RANGE: &str = "/loki/api/v1/query_range";
const INSTANT: &str = "/loki/api/v1/query";
/// What all queries together may hold.
const MEMORY: &str = "96MiB";
/// Streams of the tenant that asks.
const STREAMS: usize = 1500;
/// Lines of each.
const LINES: usize = 8;
/// Points of the finest questions: nearly as many as a series may have, and with room for the time
/// that passes until they are asked.
const POINTS: i64 = 10_000;

/// A request: path, query, other parameters.
struct Question {
    path: &'static str,
    query: String,
    others: Vec<(&'static str, String)>,
}

fn ask(path: &'static str, query: impl Into<String>) -> Question {
    Question {
        path,
        query: query.into(),
        others: Vec::new(),
    }
}

impl Question {
    fn with(mut self, name: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.others.push((name, value.to_string()));
        self
    }

    fn body(&self) -> Vec<u8> {
        let escaped = |text: &str| -> String {
            text.bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                    other => format!("%{other:02x}"),
                })
                .collect()
        };
        let mut body = format!("query={}", escaped(&self.query));
        for (name, value) in &self.others {
            body.push_str(&format!("&{}={}", escaped(name), escaped(value)));
        }
        body.into_bytes()
    }

    /// How it begins, for messages.
    fn name(&self) -> String {
        let start: String = self.query.chars().take(80).collect();
        format!("{} {start} {:?}", self.path, self.others)
    }
}

/// Lines of every kind that parsers know, in many streams.
async fn fill(api: &Api, now_ns: i64) -> anyhow::Result<()> {
    let stream = |number: usize| {
        let line = |at: usize| {
            let text = match at % 4 {
                0 => format!("level=info n={number} took={at}ms msg=\"request done\" path=/a/b/c"),
                1 => {
                    format!(r#"{{"level":"warn","n":{number},"nested":{{"deep":{{"er":{at}}}}}}}"#)
                }
                2 => "a".repeat(2000),
                _ => format!("10.0.0.{at} - [x] \"GET /index.html\" 200 {number}"),
            };
            let time_ns = now_ns - (LINES - at) as i64 * SECOND_NS;
            json!([time_ns.to_string(), text])
        };
        let values: Vec<_> = (0..LINES).map(line).collect();
        json!({"stream": {"app": "hurt", "number": number.to_string()}, "values": values})
    };
    for part in (0..STREAMS).collect::<Vec<_>>().chunks(500) {
        let streams: Vec<_> = part.iter().map(|number| stream(*number)).collect();
        let body = json!({ "streams": streams }).to_string().into_bytes();
        let (status, text) = api.post(PUSH, "application/json", &[], body).await?;
        anyhow::ensure!(status == 204, "{status} {text}");
    }
    Ok(())
}

fn regexes() -> Vec<Question> {
    let all = r#"{app=~".+"}"#;
    [
        r#"|~ "(a+)+$""#,
        r#"|~ "(a|aa|aaa|a*)*b""#,
        r#"|~ "(.*){40}(.*){40}x""#,
        r#"|~ "((a{1,100}){1,100}){1,100}""#,
        r#"|~ "(?i)(x+x+)+y|(é|è)*$""#,
        r#"| regexp "(?P<a>.*)(?P<b>.*)(?P<c>.*)(?P<d>.*)z""#,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(many_regexes())
    .map(|stage| ask(RANGE, format!("{all} {stage}")).with("limit", &5000))
    .collect()
}

/// Stages that are short, and many, and each of which is large when it is compiled.
fn many_regexes() -> [String; 4] {
    let groups: String = (0..5000).map(|at| format!("(?P<a{at}>.)")).collect();
    [
        r#"| a=~"\\pL{40}x""#.repeat(1000),
        r#"|~ "[^a]{1000}""#.repeat(300),
        "| label_format a=`{{ regexReplaceAll \"\\\\pL{30}\" .b .c }}`".repeat(1000),
        format!(r#"| regexp "{groups}""#),
    ]
}

fn templates() -> Vec<Question> {
    let all = r#"{app=~".+"}"#;
    let doubling = (0..40)
        .map(|_| "| label_format a=`{{.a}}{{.a}}{{.number}}`")
        .collect::<String>();
    let wide: Vec<String> = (0..200)
        .map(|at| format!("a{at}=`{{{{ repeat 4000000 \"x\" }}}}`"))
        .collect();
    [
        format!("| label_format {}", wide.join(", ")),
        r#"| line_format `{{ repeat 1000000000 "x" }}`"#.to_owned(),
        r#"| line_format `{{ repeat 10000 (repeat 10000 "x") }}`"#.to_owned(),
        r#"| line_format `{{ indent 2000000000 __line__ }}`"#.to_owned(),
        r#"| line_format `{{ printf "%1000000000d" 1 }}`"#.to_owned(),
        r#"| line_format `{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}`"#.to_owned(),
        r#"| line_format `{{ range $i, $e := (fromJson (printf "[%s0]" (repeat 100000 "0,"))) }}{{ range $j, $f := $ }}{{ $i }}{{ end }}{{ end }}`"#.to_owned(),
        r#"| line_format `{{ regexReplaceAll "(.*)*" __line__ "$1$1$1$1$1$1$1$1" }}`"#.to_owned(),
        doubling,
    ]
    .into_iter()
    .map(|stage| ask(RANGE, format!("{all} {stage}")).with("limit", &5000))
    .collect()
}

fn numbers(now_ns: i64) -> Vec<Question> {
    let all = r#"{app=~".+"}"#;
    let start_s = now_ns / SECOND_NS - POINTS;
    let fine = |query: String| ask(RANGE, query).with("start", &start_s).with("step", &1);
    let many = vec!["vector(1)"; 3000].join(" or ");
    let sums = vec![format!("sum(count_over_time({all}[1m]))"); 40].join(" + ");
    vec![
        ask(INSTANT, format!("count_over_time({all}[5m])")),
        fine(format!("count_over_time({all}[1h])")),
        fine(format!(
            "sum by (number) (count_over_time({all} | json | logfmt [1h]))"
        )),
        fine(format!(
            "quantile_over_time(0.5, {all} | logfmt | unwrap n [1h]) by (number)"
        )),
        fine(many),
        fine(sums),
        ask(
            INSTANT,
            format!("quantile_over_time(1e308, {all} | logfmt | unwrap n [1h])"),
        ),
        ask(
            INSTANT,
            format!("quantile_over_time(-1e308, {all} | logfmt | unwrap n [1h]) by ()"),
        ),
        ask(
            INSTANT,
            format!("topk(9223372036854775807, sum by (number) (rate({all}[1h])))"),
        ),
        ask(
            INSTANT,
            format!("topk(99999999999999999999999, rate({all}[1h]))"),
        ),
        ask(INSTANT, format!("sum(rate({all}[290y]))")),
        ask(INSTANT, format!("absent_over_time({all}[1s] offset -200y)")),
        ask(
            INSTANT,
            format!(
                r#"label_replace(sum by (number) (rate({all}[1h])), "a", "$1$1$1$1$1$1$1$1", "number", "(.*)*")"#
            ),
        ),
        ask(
            INSTANT,
            (0..50).fold(
                format!("sum by (number) (count_over_time({all}[1h]))"),
                |inner, _| {
                    format!(r#"label_replace({inner}, "number", "$1$1$1", "number", "(.*)")"#)
                },
            ),
        ),
        ask(INSTANT, "2 ^ 2 ^ 2 ^ 2 ^ 2 ^ 2 ^ 2 ^ 2 ^ 1e308 % 0"),
    ]
}

fn widths(now_ns: i64) -> Vec<Question> {
    let all = r#"{app=~".+"}"#;
    let filters = vec!["\"x\""; 8000].join(" or ");
    let matchers = (0..900)
        .map(|number| format!(", number!=\"{number}\""))
        .collect::<String>();
    let month_s = 30 * 86_400;
    let month_ago_s = now_ns / SECOND_NS - month_s;
    vec![
        ask(RANGE, all).with("limit", &5000),
        ask(RANGE, all).with("limit", &5000).with("interval", "1ns"),
        ask(RANGE, format!("{all} |= {filters}")).with("limit", &5000),
        ask(RANGE, format!("{{app=~\".+\"{matchers}}}")).with("limit", &5000),
        ask(RANGE, format!("{all} |= \"{}\"", "x".repeat(1 << 20))),
        ask(
            RANGE,
            format!("{}{all}{}", "(".repeat(60_000), ")".repeat(60_000)),
        ),
        ask(
            INSTANT,
            format!("{}1{}", "sum(".repeat(20_000), ")".repeat(20_000)),
        ),
        ask(
            RANGE,
            format!("{all} | json | logfmt | unpack | pattern `<a> <b> <c> <d>`"),
        )
        .with("limit", &5000),
        ask(RANGE, format!(r#"{all} |= ip("::/0") or ip("0.0.0.0/0")"#)).with("limit", &5000),
        ask("/loki/api/v1/detected_fields", all).with("line_limit", &5000),
        ask("/loki/api/v1/patterns", all).with("step", &1),
        ask("/loki/api/v1/index/volume_range", all)
            .with("start", &month_ago_s)
            .with("step", &(month_s / POINTS)),
        ask("/loki/api/v1/index/volume", all).with("limit", &5000),
        ask("/loki/api/v1/detected_labels", all),
        ask("/loki/api/v1/series", all),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_queries_are_answered_or_refused_while_pushes_go_on() -> anyhow::Result<()> {
    let siege = Siege::start_with(&[
        ("SKALD_QUERIER_MEMORY", MEMORY),
        ("SKALD_LIMITS_MAX_QUERY_MEMORY", "64MiB"),
        ("SKALD_LIMITS_QUERY_TIMEOUT", "10s"),
        // Memory is what is to end those that want too much.
        ("SKALD_LIMITS_MAX_QUERY_SERIES", "0"),
    ])
    .await?;
    let (api, now_ns) = (siege.api(), lines::now_ns());
    fill(&api, now_ns).await?;
    let mut questions = regexes();
    questions.extend(templates());
    questions.extend(numbers(now_ns));
    questions.extend(widths(now_ns));
    anyhow::ensure!(questions.len() >= 40, "{} questions", questions.len());
    let acknowledged = siege.others.acknowledged();
    // All at once: the server is to queue them, not the client.
    let patient = api.patient();
    let answers = questions.into_iter().map(|question| {
        let api = patient.clone();
        async move {
            let (status, text) = api.post(question.path, FORM, &[], question.body()).await?;
            anyhow::Ok((question.name(), status, text))
        }
    });
    for answer in futures::future::try_join_all(answers).await? {
        let (name, status, text) = answer;
        // Answered, refused, or ended by its own time; never a fault of the server.
        let is_expected = status == 200 || (400..500).contains(&status) || status == 504;
        let text: String = text.chars().take(300).collect();
        anyhow::ensure!(is_expected, "{name}: {status} {text}");
        anyhow::ensure!(status == 200 || !text.trim().is_empty(), "{name}: {status}");
        // Refused before it could hurt, it would show nothing.
        anyhow::ensure!(!text.contains("maximum resolution"), "{name}: {text}");
    }
    anyhow::ensure!(
        siege.others.acknowledged() > acknowledged,
        "no push meanwhile"
    );
    siege.end_within(96 << 20).await
}
