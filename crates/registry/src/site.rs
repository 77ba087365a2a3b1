//! Whether a request is from a page of another site. A browser sends what it knows of its user along
//! with whatever such a page has it ask, so nothing that is asked so may change anything.

use std::net::IpAddr;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

use crate::config::AuthMode;
use crate::error::{Code, Error};
use crate::logs::Seen;
use crate::registry::Registry;

/// What browsers say of the page that a request is from: <https://www.w3.org/TR/fetch-metadata/>.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page of another site has a browser change. Clients that are no browsers say
/// nothing of pages.
pub(crate) async fn refuse_others(
    State(registry): State<Registry>,
    Extension(seen): Extension<Seen>,
    request: Request,
    next: Next,
) -> Response {
    let config = registry.config();
    let (headers, external) = (request.headers(), &config.external_url);
    let is_open_here = config.auth == AuthMode::None && config.listen.0.ip().is_loopback();
    let message = if request.method().is_safe() {
        return next.run(request).await;
    } else if !is_own(headers, external) {
        "this was asked by a page of another site, which changes nothing here"
    } else if is_open_here && is_renamed(headers, external) {
        "this was asked by a page under a name that registry.external_url does not have"
    } else {
        return next.run(request).await;
    };
    Error::new(Code::Denied, message).answer(&seen.rid)
}

/// Whether a page calls this registry by a name that it is not known by. Whoever has a name can have it
/// point to the machine of who looks at his page: a browser then takes the page for the registry's own,
/// and where nobody is asked who he is, nothing else is in its way.
fn is_renamed(headers: &HeaderMap, external_url: &str) -> bool {
    if !headers.contains_key(ORIGIN) && !headers.contains_key(FETCH_SITE) {
        return false;
    }
    let called = headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(called) = called.and_then(read) else {
        return true;
    };
    let name = called.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_plain = name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok();
    !is_plain && host(external_url).is_none_or(|own| own != called)
}

/// Whether a request is from a page of this registry, or from none.
fn is_own(headers: &HeaderMap, external_url: &str) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().ok());
    if let Some(site) = text(&FETCH_SITE)
        && !matches!(site, Some("same-origin" | "same-site" | "none"))
    {
        return false;
    }
    // Where there are none of the others, an old browser still says this.
    let Some(origin) = text(&ORIGIN) else {
        return true;
    };
    let Some(origin) = origin.and_then(host) else {
        return false;
    };
    // A proxy may call the registry otherwise than its clients do.
    let own = [text(&HOST).flatten().and_then(read), host(external_url)];
    own.iter().flatten().any(|own| *own == origin)
}

/// The host of an address, with its port if that is not the usual one.
fn host(url: &str) -> Option<Authority> {
    let uri: Uri = url.parse().ok()?;
    uri.scheme()?;
    uri.into_parts().authority
}

fn read(authority: &str) -> Option<Authority> {
    authority.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_calls_the_registry_what_it_is_known_as() {
        for (host, is_renamed_to) in [
            ("127.0.0.1:5000", false),
            ("[::1]:5000", false),
            ("localhost:5000", false),
            ("out.example", false),
            ("evil.example:5000", true),
            ("out.example:5000", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            let found = |headers: &HeaderMap| is_renamed(headers, "https://out.example/registry");
            assert!(!found(&headers), "{host} is asked by no page");
            headers.insert(ORIGIN, format!("http://{host}").parse().unwrap());
            assert_eq!(found(&headers), is_renamed_to, "{host}");
        }
    }

    #[test]
    fn pages_of_others_are_told_from_ones_own() {
        let host = ("host", "r.example:5000");
        let cases: [(&[(&str, &str)], bool); 12] = [
            (&[], true),
            (&[("origin", "http://r.example:5000")], true),
            (&[("origin", "https://R.example:5000")], true),
            (&[("origin", "https://out.example")], true),
            (&[("origin", "https://r.example")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "r.example:5000")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], true),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://r.example:5000"),
                ],
                true,
            ),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "http://evil.example:5000"),
                ],
                false,
            ),
        ];
        for (sent, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in sent.iter().chain([&host]) {
                headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
            let found = is_own(&headers, "https://out.example/registry");
            assert_eq!(found, expected, "{sent:?}");
        }
    }
}
