//! The client of the API server: [`kube`]'s, on the connections that all clients of the agent are
//! made of, so that TLS, proxies and credentials are configured as everywhere else.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use kube::core::Status;
use kube::{Client, Error};

use super::kubeconfig::Place;
use crate::access::{Access, beginning_of, first_line, with_causes};

/// How long an answer may take to begin: that of a watch begins at once.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Where the server is.
struct Server {
    access: Access,
    url: String,
}

/// A client of the server at this place.
pub(super) fn client(place: Place) -> Result<Client, String> {
    let url = place.url.trim_end_matches('/').to_owned();
    reqwest::Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
    let server = Arc::new(Server {
        access: Access::new(place.access)?,
        url,
    });
    let service = tower::service_fn(move |request| {
        let server = server.clone();
        async move { server.answer(request).await }
    });
    Ok(Client::new(service, place.namespace.unwrap_or_default()))
}

impl Server {
    /// The answer to a request without a body, which is all that a watcher makes. An answer that is
    /// no success is an error whatever its body is: a watch would take it for one that has ended.
    async fn answer(&self, request: Request<Body>) -> Result<Response<reqwest::Body>, Error> {
        let text = |text: String| Error::Service(text.into());
        let asked = request
            .uri()
            .path_and_query()
            .map_or("/", |asked| asked.as_str());
        let url = format!("{}{asked}", self.url);
        let url = reqwest::Url::parse(&url).map_err(|error| text(format!("{url}: {error}")))?;
        let made = self.access.request(request.method().clone(), url).await;
        let sent = made
            .map_err(text)?
            .headers(request.headers().clone())
            .send();
        let sent = tokio::time::timeout(ANSWER_MAX, sent).await;
        let sent = sent.map_err(|_| text(format!("no answer within {ANSWER_MAX:?}")))?;
        let answer = sent.map_err(|error| text(with_causes(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into());
        }
        let said = beginning_of(answer).await;
        let refused = serde_json::from_str(&said);
        let refused = refused.unwrap_or_else(|_| Status::failure(first_line(&said), ""));
        Err(Error::Api(refused.with_code(status.as_u16()).boxed()))
    }
}
