//! A client of Loki's API, as a user's program would have one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// Labels of a stream.
pub type Labels = BTreeMap<String, String>;

/// Where lines are pushed.
pub const PUSH: &str = "/loki/api/v1/push";
/// Lines of one page: what tenants may ask for by default.
const PAGE_LINES: usize = 5000;

/// A line as it comes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The text.
    pub text: String,
}

/// A push of one stream in JSON.
#[must_use]
pub fn json_push(labels: &Labels, lines: &[Line]) -> Vec<u8> {
    let value = |line: &Line| json!([line.timestamp_ns.to_string(), line.text]);
    let values: Vec<Value> = lines.iter().map(value).collect();
    let body = json!({"streams": [{"stream": labels, "values": values}]});
    body.to_string().into_bytes()
}

/// One server.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    tenant: Option<String>,
    http: reqwest::Client,
}

impl Api {
    /// A client of the server at `base`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build();
        Self {
            base: base.to_owned(),
            tenant: None,
            http: http.unwrap_or_default(),
        }
    }

    /// The same for a tenant.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self {
            tenant: Some(tenant.to_owned()),
            ..self.clone()
        }
    }

    /// The same, waiting for answers as long as a server on a starved machine may take.
    #[must_use]
    pub fn patient(&self) -> Self {
        let http = reqwest::Client::builder().build();
        Self {
            http: http.unwrap_or_default(),
            ..self.clone()
        }
    }

    /// The address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether `/ready` answers 200.
    pub async fn is_ready(&self) -> bool {
        let asked = self.http.get(format!("{}/ready", self.base));
        asked
            .timeout(Duration::from_secs(2))
            .send()
            .await
            .is_ok_and(|a| a.status().is_success())
    }

    /// Status and body of a GET.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get(&self, path: &str, params: &[(&str, &str)]) -> anyhow::Result<(u16, String)> {
        self.get_with(path, params, &[]).await
    }

    /// Status and body of a GET with more headers.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get_with(
        &self,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<(u16, String)> {
        let answer = self.ask(path, params, headers).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The whole answer to a GET.
    ///
    /// # Errors
    /// If there is none.
    pub async fn ask(
        &self,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<reqwest::Response> {
        Ok(self.getting(path, params, headers).send().await?)
    }

    /// The whole answer to a POST.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send(
        &self,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<reqwest::Response> {
        Ok(self.posting(path, content_type, body).send().await?)
    }

    /// How the body of a GET is encoded, and the body as it was sent.
    ///
    /// # Errors
    /// If there is no answer, or it is not 200.
    pub async fn get_encoded(
        &self,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> anyhow::Result<(String, Vec<u8>)> {
        let http = reqwest::Client::builder().no_gzip().build()?;
        let plain = Self {
            http,
            ..self.clone()
        };
        let answer = plain.ask(path, params, headers).await?;
        ensure!(
            answer.status() == 200,
            "{path} answered {}",
            answer.status()
        );
        let encoding = answer.headers().get("Content-Encoding");
        let encoding = encoding.map(|value| value.to_str().map(str::to_owned));
        let encoding = encoding.transpose()?.unwrap_or_default();
        Ok((encoding, answer.bytes().await?.to_vec()))
    }

    fn getting(
        &self,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let mut request = self.http.get(format!("{}{path}", self.base)).query(params);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.with_tenant(request)
    }

    /// The JSON of a GET that must succeed.
    ///
    /// # Errors
    /// If the status is not 200, or the body is no JSON.
    pub async fn json(&self, path: &str, params: &[(&str, &str)]) -> anyhow::Result<Value> {
        let (status, body) = self.get(path, params).await?;
        ensure!(status == 200, "{path} answered {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("{path} answered no JSON: {body}"))
    }

    /// Status and body of a POST.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<(u16, String)> {
        let mut request = self.posting(path, content_type, body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    fn posting(&self, path: &str, content_type: &str, body: Vec<u8>) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header("Content-Type", content_type).body(body);
        self.with_tenant(request)
    }

    /// Status and body of a DELETE.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn delete(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let request = self.http.delete(format!("{}{path}", self.base));
        let answer = self.with_tenant(request).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    fn with_tenant(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.tenant {
            Some(tenant) => request.header("X-Scope-OrgID", tenant),
            None => request,
        }
    }

    /// Pushes lines of one stream as JSON; gives status and body.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn push(&self, labels: &Labels, lines: &[Line]) -> anyhow::Result<(u16, String)> {
        self.post(PUSH, "application/json", &[], json_push(labels, lines))
            .await
    }

    /// All lines of a query that the times of each two of tell apart, oldest first, a page at a
    /// time.
    ///
    /// # Errors
    /// If a query fails.
    pub async fn all_lines(
        &self,
        query: &str,
        start_ns: i64,
        end_ns: i64,
    ) -> anyhow::Result<Vec<Line>> {
        let (mut all, mut from_ns) = (Vec::new(), start_ns);
        loop {
            let page = self.lines(query, from_ns, end_ns).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            from_ns = last.timestamp_ns + 1;
            let is_last = page.len() < PAGE_LINES;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The first lines that a query gives, oldest first.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn lines(
        &self,
        query: &str,
        start_ns: i64,
        end_ns: i64,
    ) -> anyhow::Result<Vec<Line>> {
        let (start, end) = (start_ns.to_string(), end_ns.to_string());
        let limit = PAGE_LINES.to_string();
        let params = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("limit", &limit),
            ("direction", "forward"),
        ];
        let answer = self.json("/loki/api/v1/query_range", &params).await?;
        let streams = answer["data"]["result"].as_array().context("no streams")?;
        let mut lines = Vec::new();
        for row in streams
            .iter()
            .filter_map(|stream| stream["values"].as_array())
            .flatten()
        {
            lines.push(Line {
                timestamp_ns: row[0].as_str().context("no time")?.parse()?,
                text: row[1].as_str().context("no line")?.to_owned(),
            });
        }
        lines.sort();
        Ok(lines)
    }

    /// The sum of an instant query's samples; 0 if it gives none.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn instant(&self, query: &str, at_ns: i64) -> anyhow::Result<f64> {
        let at = at_ns.to_string();
        let answer = self
            .json("/loki/api/v1/query", &[("query", query), ("time", &at)])
            .await?;
        let samples = answer["data"]["result"].as_array().context("no vector")?;
        let values = samples
            .iter()
            .filter_map(|sample| sample["value"][1].as_str());
        values
            .map(|value| value.parse::<f64>().context("no number"))
            .sum()
    }

    /// Asks the process to write everything to object storage.
    ///
    /// # Errors
    /// If it does not.
    pub async fn flush(&self) -> anyhow::Result<()> {
        let (status, body) = self.post("/flush", "text/plain", &[], Vec::new()).await?;
        ensure!(status == 204, "/flush answered {status}: {body}");
        Ok(())
    }
}
