//! Whether a request is from a page of another site. A browser sends what it knows of its user along
//! with whatever such a page has it ask, so nothing that is asked so may change anything.

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

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
    let external = &registry.config().external_url;
    if request.method().is_safe() || is_own(request.headers(), external) {
        return next.run(request).await;
    }
    let message = "this was asked by a page of another site, which changes nothing here";
    Error::new(Code::Denied, message).answer(&seen.rid)
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
