//! A page that shows what there is: projects, their repositories, and the artifacts of these. It asks
//! the management API, so that who looks at it sees what he may see, once he has logged in.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::registry::Registry;

/// Nothing of others is loaded, and nobody frames the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Its icon.
const ICON: &str = include_str!("ui/icon.svg");

/// The page, its script, its style and its icon, which browsers also look for where they always have.
pub(crate) fn routes() -> Router<Registry> {
    let files = [
        (
            "/ui/",
            "text/html; charset=utf-8",
            include_str!("ui/index.html"),
        ),
        ("/ui/page.js", "text/javascript", include_str!("ui/page.js")),
        ("/ui/page.css", "text/css", include_str!("ui/page.css")),
        ("/ui/icon.svg", "image/svg+xml", ICON),
        ("/favicon.ico", "image/svg+xml", ICON),
    ];
    let to_page = get(async || Redirect::temporary("/ui/"));
    let routes = Router::new()
        .route("/", to_page.clone())
        .route("/ui", to_page);
    files
        .into_iter()
        .fold(routes, |routes, (path, kind, text)| {
            routes.route(path, get(async move || file(kind, text)))
        })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Another version may have another page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
