//! A client of the management API that knows of it what the description says.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use reqwest::{Method, Response};
use serde_json::Value;
use tests::registry::RegistryClient;

use super::schema::{check, resolve};

/// The description, and who is asked for what it has.
pub(super) struct Api {
    pub(super) client: RegistryClient,
    pub(super) document: Value,
    /// The operations that did what they were asked for, by their ids.
    pub(super) done: BTreeSet<String>,
}

impl Api {
    pub(super) async fn of(client: RegistryClient) -> anyhow::Result<Self> {
        let document = client.json("/api/v2.0/openapi.json").await?;
        Ok(Self {
            client,
            document,
            done: BTreeSet::new(),
        })
    }

    /// The same for somebody else.
    pub(super) fn as_who(&self, client: RegistryClient) -> Self {
        Self {
            client,
            document: self.document.clone(),
            done: BTreeSet::new(),
        }
    }

    /// All operations with their methods and paths.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            operations.map(|(method, operation)| (method.as_str(), path.as_str(), operation))
        })
    }

    fn operation(&self, id: &str) -> anyhow::Result<(&str, &str, &Value)> {
        let mut operations = self.operations();
        let found = operations.find(|(.., operation)| operation["operationId"] == id);
        found.with_context(|| format!("there is no operation {id}"))
    }

    /// Has an operation done: by its id, with what varies in its path, and perhaps with a query. What is
    /// sent and what is answered is what the description says.
    pub(super) async fn ask(
        &mut self,
        id: &str,
        path: &[&str],
        body: Value,
    ) -> anyhow::Result<Value> {
        if !body.is_null() {
            let body_of = &self.operation(id)?.2["requestBody"];
            let schema = &body_of["content"]["application/json"]["schema"];
            check(&self.document, schema, &body).with_context(|| id.to_owned())?;
        }
        let (status, answer) = self.send(id, path, &body).await?;
        ensure!((200..300).contains(&status), "{id}: {status} {answer}");
        self.done.insert(id.to_owned());
        Ok(answer)
    }

    /// Status and body of an answer, which is one that the operation has.
    pub(super) async fn send(
        &self,
        id: &str,
        path: &[&str],
        body: &Value,
    ) -> anyhow::Result<(u16, Value)> {
        let (method, described, operation) = self.operation(id)?;
        let method: Method = method.to_uppercase().parse()?;
        let mut path = path.iter();
        let mut url = "/api/v2.0".to_owned();
        for part in described.split('/').skip(1) {
            let part = match part.starts_with('{') {
                true => path.next().context(id.to_owned())?,
                false => part,
            };
            url = format!("{url}/{part}");
        }
        url.extend(path.copied());
        let request = self.client.request(method, &url);
        let answer = match body {
            Value::Null => request.send().await?,
            body => request.json(body).send().await?,
        };
        let checked = self.read(&operation["responses"], answer).await;
        checked.with_context(|| id.to_owned())
    }

    async fn read(&self, answers: &Value, answer: Response) -> anyhow::Result<(u16, Value)> {
        let status = answer.status().as_u16();
        let refused = answers.get("default").filter(|_| status >= 400);
        let described = answers.get(status.to_string()).or(refused);
        let described = described.with_context(|| format!("it answers {status}"))?;
        let described = resolve(&self.document, described)?;
        for name in ["location", "link", "x-total-count"] {
            let is_there = answer.headers().contains_key(name);
            let is_described = !described["headers"][name].is_null();
            ensure!(is_described || !is_there, "it answers {name}");
        }
        let headers = answer.headers();
        let kind = headers.get("content-type").map(|kind| kind.to_str());
        let kind = kind.transpose()?.unwrap_or_default().to_owned();
        let kind = kind.split(';').next().unwrap_or_default();
        let text = answer.text().await?;
        if described["content"].is_null() {
            ensure!(text.is_empty(), "it answers {text}");
            return Ok((status, Value::Null));
        }
        let content = described["content"].get(kind);
        let content = content.with_context(|| format!("it answers {kind}"))?;
        let body = match kind {
            "application/json" => serde_json::from_str(&text)?,
            _ => Value::String(text),
        };
        check(&self.document, &content["schema"], &body)?;
        Ok((status, body))
    }
}
