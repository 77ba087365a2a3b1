//! Servers whose certificate has another name than the one they are reached by.
//!
//! A request is made for the name of the certificate, so that it is what the server is asked for in
//! the handshake and what is verified; the name is then resolved to the address of the server
//! itself, and the `Host` header stays what the configuration says.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, RequestBuilder, Url};

/// Redirects that are followed, each to the same name.
const REDIRECTS_MAX: usize = 10;

/// The name of a certificate.
#[derive(Clone)]
pub(super) struct ServerName {
    name: String,
    /// Where the server is.
    host: Arc<Mutex<String>>,
}

impl ServerName {
    /// Checks the name; nothing if none is given.
    pub(super) fn new(name: &str, proxy_url: &str) -> Result<Option<Self>, String> {
        if name.is_empty() {
            return Ok(None);
        }
        let parsed = Url::parse(&format!("https://{name}/"));
        if parsed.is_ok_and(|url| url.domain() != Some(name)) {
            return Err(format!(
                "tls_config.server_name: {name:?} is no name in lower case"
            ));
        }
        if !proxy_url.is_empty() {
            return Err("tls_config.server_name: not supported together with proxy_url".to_owned());
        }
        Ok(Some(Self {
            name: name.to_owned(),
            host: Arc::default(),
        }))
    }

    /// A client that reaches the server by this name.
    pub(super) fn apply(&self, builder: ClientBuilder, follows_redirects: bool) -> ClientBuilder {
        let name = self.name.clone();
        let same_name = Policy::custom(move |attempt| {
            let is_same = attempt.url().host_str() == Some(&name);
            if is_same && attempt.previous().len() <= REDIRECTS_MAX {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let policy = if follows_redirects {
            same_name
        } else {
            Policy::none()
        };
        // In HTTP/2 a server is asked for by one name only.
        builder
            .http1_only()
            .redirect(policy)
            .dns_resolver(self.clone())
    }

    /// The request for the server of `url`, made by `make` for the name.
    pub(super) fn request(
        &self,
        mut url: Url,
        make: impl FnOnce(Url) -> RequestBuilder,
    ) -> Result<RequestBuilder, String> {
        let wrong = || format!("{url} has no host");
        let host = url.host_str().ok_or_else(wrong)?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        if url.scheme() != "https" {
            return Ok(make(url));
        }
        let header = HeaderValue::from_str(&authority).map_err(|error| error.to_string())?;
        url.set_host(Some(&self.name))
            .map_err(|error| format!("tls_config.server_name: {error}"))?;
        *self.host.lock() = host;
        Ok(make(url).header(HOST, header))
    }
}

impl Resolve for ServerName {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name {
            self.host.lock().clone()
        } else {
            name.as_str().to_owned()
        };
        Box::pin(async move {
            // An address of IPv6 has brackets in a URL.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            // The port is that of the request.
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
