//! The server that all rows ask, with lines of several kinds: some of them in the store, some in
//! memory.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::api::{Api, PUSH};
use tests::lines::{SECOND_NS, now_ns};
use tests::server::Server;

/// Where the query API begins.
pub(crate) const API: &str = "/loki/api/v1";
/// Lines of `{app="web"}`; five at a time, times a second apart.
pub(crate) const WEB_LINES: usize = 2500;
/// Lines of `{app="api"}`, all at the beginning.
pub(crate) const API_LINES: usize = 100;

const TENANT: &str = "team";
const LINES_AT_ONCE: usize = 5;

/// A running server and when its lines begin.
pub(crate) struct Site {
    server: Server,
    /// The first line, a whole minute; the last is not in the future.
    pub(crate) base_ns: i64,
}

/// The level of a line of `{app="web"}`.
pub(crate) fn level(number: usize) -> &'static str {
    ["info", "info", "warn", "error"][number % 4]
}

/// A line of `{app="web"}`.
pub(crate) fn web_line(number: usize) -> String {
    let level = level(number);
    format!("level={level} n={number} took={number}ms msg=\"request done\" path=/items/{number}")
}

fn api_line(number: usize) -> String {
    json!({"level": "debug", "n": number, "request": {"path": "/x", "ok": true}}).to_string()
}

impl Site {
    /// Starts a server and gives it its lines.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let env = [
            ("SKALD_AUTH_ENABLED", "true"),
            ("SKALD_QUERIER_MAX_CONCURRENT", "4"),
        ];
        let server = Server::start(&env).await?;
        let minute_ns = 60 * SECOND_NS;
        let base_ns = (now_ns() - 20 * minute_ns) / minute_ns * minute_ns;
        let site = Self { server, base_ns };
        let half = WEB_LINES / 2;
        site.push_web(0..half).await?;
        let lines: Vec<Value> = (0..API_LINES)
            .map(|number| json!([(base_ns + number as i64).to_string(), api_line(number)]))
            .collect();
        site.push(json!({"app": "api", "env": "test"}), lines)
            .await?;
        site.api().flush().await?;
        site.push_web(half..WEB_LINES).await?;
        Ok(site)
    }

    async fn push_web(&self, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        let line = |number: usize| {
            let time = self.web_time_ns(number).to_string();
            json!([time, web_line(number), {"trace_id": format!("t{number}")}])
        };
        self.push(
            json!({"app": "web", "env": "prod"}),
            numbers.map(line).collect(),
        )
        .await
    }

    /// Pushes lines of a stream.
    pub(crate) async fn push(&self, labels: Value, values: Vec<Value>) -> anyhow::Result<()> {
        let body = json!({"streams": [{"stream": labels, "values": values}]});
        let body = body.to_string().into_bytes();
        let (status, text) = self.api().post(PUSH, "application/json", &[], body).await?;
        ensure!(status == 204, "{status} {text}");
        Ok(())
    }

    /// When a line of `{app="web"}` was written.
    pub(crate) fn web_time_ns(&self, number: usize) -> i64 {
        self.base_ns + (number / LINES_AT_ONCE) as i64 * SECOND_NS
    }

    /// A client of the tenant.
    pub(crate) fn api(&self) -> Api {
        self.server.api().of_tenant(TENANT)
    }

    /// Where sockets connect to.
    pub(crate) fn socket_url(&self, path_and_query: &str) -> String {
        let base = self.server.api().base().replacen("http", "ws", 1);
        format!("{base}{path_and_query}")
    }

    /// The headers that say whose a request is.
    pub(crate) fn tenant_header() -> (&'static str, &'static str) {
        ("X-Scope-OrgID", TENANT)
    }

    /// `start` and `end` around all lines, in nanoseconds.
    pub(crate) fn range(&self) -> [(&'static str, String); 2] {
        let end_ns = self.web_time_ns(WEB_LINES) + 60 * SECOND_NS;
        [
            ("start", self.base_ns.to_string()),
            ("end", end_ns.to_string()),
        ]
    }

    /// The answer to a GET below [`API`] over all lines, with parameters and headers.
    pub(crate) async fn get(
        &self,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<(u16, String)> {
        let range = self.range();
        let range = range.iter().map(|(name, value)| (*name, value.as_str()));
        let absent = range.filter(|(name, _)| !params.iter().any(|(given, _)| given == name));
        let params: Vec<_> = absent.chain(params.iter().copied()).collect();
        let path = format!("{API}/{path}");
        self.api().get_with(&path, &params, headers).await
    }

    /// The JSON of such an answer, which must be 200.
    pub(crate) async fn json(
        &self,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        let (status, text) = self.get(path, params, headers).await?;
        ensure!(status == 200, "{path} {params:?}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: no JSON: {text}"))
    }
}

/// Says what is not as expected.
#[allow(
    clippy::needless_pass_by_value,
    reason = "as with assert_eq, what is compared is mostly made for it"
)]
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> anyhow::Result<()> {
    ensure!(
        found == expected,
        "{what}: {found:?} instead of {expected:?}"
    );
    Ok(())
}

/// The elements of a list in an answer.
pub(crate) fn list<'a>(value: &'a Value, what: &str) -> anyhow::Result<&'a Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("no list of {what}: {value}"))
}

/// Texts of a list.
pub(crate) fn texts<'a>(value: &'a Value, what: &str) -> anyhow::Result<Vec<&'a str>> {
    let text = |value: &'a Value| value.as_str().with_context(|| format!("{what}: {value}"));
    list(value, what)?.iter().map(text).collect()
}

/// Time and line of every row of an answer, in its order.
pub(crate) fn rows(answer: &Value) -> anyhow::Result<Vec<(i64, String)>> {
    let mut rows = Vec::new();
    for stream in list(&answer["data"]["result"], "streams")? {
        for value in list(&stream["values"], "lines")? {
            let time = value[0].as_str().context("no time")?.parse()?;
            rows.push((time, value[1].as_str().context("no line")?.to_owned()));
        }
    }
    Ok(rows)
}
