//! Requests to the API server: lists in pages, and watches
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/>).

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;

use super::kubeconfig::Place;
use super::object::Object;
use super::{Kind, Name};
use crate::access::{Access, with_causes};
use crate::config::KubernetesSd;
use server::Environment;

/// Objects of a page.
const PAGE: &str = "500";
/// Bytes of one object.
const OBJECT_BYTES_MAX: usize = 16 << 20;
/// How long a watch lasts until it is made anew, in seconds.
const WATCH_SECONDS: &str = "300";

/// A server.
pub(super) struct Api {
    access: Access,
    url: String,
    namespace: Option<String>,
}

/// Which objects are looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    labels: Vec<String>,
    fields: Vec<String>,
}

/// Why nothing came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// The place of the watch is forgotten: everything must be listed again.
    Expired,
    /// Anything else.
    Failed(String),
}

/// All objects at one time.
pub(super) struct Listed {
    pub(super) objects: BTreeMap<Name, Object>,
    pub(super) resource_version: String,
}

/// A change.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The object as it is, or was; of an error, what went wrong.
    pub(super) object: Box<serde_json::value::RawValue>,
}

/// Changes as they come.
pub(super) struct Events {
    answer: reqwest::Response,
    buffer: Vec<u8>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Option<Vec<Object>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

impl Filter {
    /// Adds conditions that must hold as well.
    pub(super) fn add(&mut self, labels: &str, fields: &str) {
        for (all, more) in [(&mut self.labels, labels), (&mut self.fields, fields)] {
            if !more.is_empty() {
                all.push(more.to_owned());
            }
        }
    }
}

impl Kind {
    fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("api/v1", "pods"),
            Self::Node => ("api/v1", "nodes"),
            Self::Service => ("api/v1", "services"),
            Self::Endpoints => ("api/v1", "endpoints"),
            Self::EndpointSlice => ("apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Ingress => ("apis/networking.k8s.io/v1", "ingresses"),
        }
    }
}

impl Api {
    pub(super) fn new(config: &KubernetesSd, environment: &Environment) -> Result<Self, String> {
        let place = Place::find(config, environment)?;
        let url = place.url.trim_end_matches('/').to_owned();
        reqwest::Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
        Ok(Self {
            access: Access::new(place.access)?,
            url,
            namespace: place.namespace,
        })
    }

    pub(super) fn own_namespace(&self) -> Option<String> {
        self.namespace.clone()
    }

    async fn get(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        filter: &Filter,
        query: &[(&str, &str)],
    ) -> Result<reqwest::Response, ApiError> {
        let (group, plural) = kind.path();
        let url = match namespace {
            Some(namespace) => format!("{}/{group}/namespaces/{namespace}/{plural}", self.url),
            None => format!("{}/{group}/{plural}", self.url),
        };
        let mut url =
            reqwest::Url::parse(&url).map_err(|error| ApiError::Failed(error.to_string()))?;
        for (name, conditions) in [
            ("labelSelector", &filter.labels),
            ("fieldSelector", &filter.fields),
        ] {
            if !conditions.is_empty() {
                url.query_pairs_mut()
                    .append_pair(name, &conditions.join(","));
            }
        }
        url.query_pairs_mut().extend_pairs(query);
        let request = self.access.request(Method::GET, url).await;
        let answer = request.map_err(ApiError::Failed)?.send().await;
        let answer = answer.map_err(|error| ApiError::Failed(with_causes(&error)))?;
        match answer.status().as_u16() {
            200 => Ok(answer),
            410 => Err(ApiError::Expired),
            _ => Err(ApiError::Failed(format!(
                "{} for {plural}",
                answer.status()
            ))),
        }
    }

    /// All objects of a kind.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        filter: &Filter,
    ) -> Result<Listed, ApiError> {
        let mut listed = Listed {
            objects: BTreeMap::new(),
            resource_version: String::new(),
        };
        let mut next = String::new();
        loop {
            let mut query = vec![("limit", PAGE)];
            if !next.is_empty() {
                query.push(("continue", &next));
            }
            let answer = self.get(kind, namespace, filter, &query).await?;
            let page: Page = answer
                .json()
                .await
                .map_err(|error| ApiError::Failed(with_causes(&error)))?;
            for object in page.items.unwrap_or_default() {
                listed.objects.insert(name_of(&object), object);
            }
            listed.resource_version = page.metadata.resource_version;
            if page.metadata.next.is_empty() {
                return Ok(listed);
            }
            next = page.metadata.next;
        }
    }

    /// The changes of objects after a version.
    pub(super) async fn watch(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        filter: &Filter,
        resource_version: &str,
    ) -> Result<Events, ApiError> {
        let query = [
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", WATCH_SECONDS),
            ("resourceVersion", resource_version),
        ];
        Ok(Events {
            answer: self.get(kind, namespace, filter, &query).await?,
            buffer: Vec::new(),
        })
    }
}

impl Events {
    /// The next change; nothing when the server has ended the watch.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let event = serde_json::from_slice(&line);
                return event
                    .map(Some)
                    .map_err(|error| ApiError::Failed(error.to_string()));
            }
            if self.buffer.len() > OBJECT_BYTES_MAX {
                let text = format!("an object has more than {OBJECT_BYTES_MAX} bytes");
                return Err(ApiError::Failed(text));
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => return Err(ApiError::Failed(with_causes(&error))),
            }
        }
    }
}

pub(super) fn name_of(object: &Object) -> Name {
    let metadata = &object.metadata;
    (metadata.namespace.clone(), metadata.name.clone())
}
