//! Whose request it is.

use std::convert::Infallible;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use model::{Code, CodedError, TenantError, TenantId};

use super::error::ApiError;

/// Names the tenant of a request, or several for a query: `a|b`.
pub const TENANT_HEADER: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Tenants that one query may name.
const TENANTS_MAX: usize = 64;

/// Whether requests must say whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The header names the tenant; without it the answer is 401.
    TenantHeader,
    /// Everything belongs to the tenant `fake`, whatever the header says.
    Single,
}

impl Auth {
    /// From `auth_enabled` of the configuration.
    #[must_use]
    pub fn from_enabled(enabled: bool) -> Self {
        if enabled {
            Self::TenantHeader
        } else {
            Self::Single
        }
    }
}

/// The tenants of a request: at least one, in order, each once; an empty part of a list is the
/// nameless one beside others. An argument of handlers that can answer for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants(Vec<TenantId>);

impl Tenants {
    /// The tenants.
    #[must_use]
    pub fn as_slice(&self) -> &[TenantId] {
        &self.0
    }

    /// The tenants.
    #[must_use]
    pub fn into_vec(self) -> Vec<TenantId> {
        self.0
    }

    /// The only tenant.
    ///
    /// # Errors
    /// If there are several.
    pub fn single(&self) -> Result<&TenantId, CodedError> {
        match self.0.as_slice() {
            [tenant] => Ok(tenant),
            _ => Err(CodedError::new(
                Code::InvalidArgument,
                "multiple org IDs present",
            )),
        }
    }

    fn of(headers: &HeaderMap) -> Result<Self, CodedError> {
        let Some(header) = headers.get(TENANT_HEADER).filter(|value| !value.is_empty()) else {
            return Err(CodedError::new(
                Code::Unauthenticated,
                TenantError::Missing.to_string(),
            ));
        };
        let text = String::from_utf8_lossy(header.as_bytes());
        let invalid = |message: String| CodedError::new(Code::InvalidArgument, message);
        let mut tenants = Vec::new();
        for id in text.split('|') {
            if tenants.len() == TENANTS_MAX {
                let error = invalid(format!("more than {TENANTS_MAX} tenants"));
                return Err(error.beyond_bound("tenants_per_query_max", &TENANTS_MAX));
            }
            tenants.push(match id {
                "" => TenantId::nameless(),
                id => TenantId::new(id).map_err(|error| invalid(message_of(error)))?,
            });
        }
        tenants.sort_unstable();
        tenants.dedup();
        if tenants.iter().all(TenantId::is_nameless) {
            return Err(CodedError::new(
                Code::Unauthenticated,
                TenantError::Missing.to_string(),
            ));
        }
        Ok(Self(tenants))
    }
}

/// The error's text. Loki walks ids by byte, so it names the first byte of a longer character.
fn message_of(error: TenantError) -> String {
    match error {
        TenantError::Unsupported { id, character } => {
            let mut bytes = [0; 4];
            let first = character.encode_utf8(&mut bytes).bytes().next();
            TenantError::Unsupported {
                id,
                character: first.map_or(character, char::from),
            }
            .to_string()
        }
        other => other.to_string(),
    }
}

impl<S: Sync> FromRequestParts<S> for Tenants {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let tenants = parts.extensions.get::<Self>().cloned();
        tenants.ok_or_else(|| ApiError::internal("route outside of the tenant layer"))
    }
}

/// The one tenant of a request. An argument of handlers that answer for one only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(pub TenantId);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let tenants = Tenants::from_request_parts(parts, state).await?;
        Ok(Self(tenants.single()?.clone()))
    }
}

/// Makes [`Tenants`] known to all `routes`; requests without a tenant are answered here.
pub fn tenant_routes(routes: Router, auth: Auth) -> Router {
    if routes.has_routes() {
        routes.route_layer(from_fn_with_state(auth, resolve))
    } else {
        routes
    }
}

async fn resolve(
    State(auth): State<Auth>,
    mut request: Request,
    next: Next,
) -> Result<Response, Infallible> {
    let tenants = match auth {
        Auth::Single => Ok(Tenants(vec![TenantId::single()])),
        Auth::TenantHeader => Tenants::of(request.headers()),
    };
    Ok(match tenants {
        Ok(tenants) => {
            if let Some(first) = tenants.0.first() {
                tracing::Span::current().record("tenant", first.as_str());
            }
            request.extensions_mut().insert(tenants);
            next.run(request).await
        }
        Err(error) => ApiError(error).into_response(),
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(auth: Auth, path: &str, tenant: Option<&[u8]>) -> (u16, String) {
        let routes = Router::new()
            .route(
                "/one",
                get(async |Tenant(tenant): Tenant| tenant.to_string()),
            )
            .route(
                "/all",
                get(async |tenants: Tenants| format!("{:?}", tenants.as_slice())),
            );
        let mut request = Request::get(path);
        if let Some(tenant) = tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = tenant_routes(routes, auth).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn tenants_of_requests() {
        let text = |text: &str| text.to_owned();
        for (path, header, expected) in [
            ("/one", None, (401, text("no org id\n"))),
            ("/one", Some(""), (401, text("no org id\n"))),
            ("/one", Some("a"), (200, text("a"))),
            (
                "/one",
                Some("b|a"),
                (400, text("multiple org IDs present\n")),
            ),
            ("/all", Some("b|a|b"), (200, text("[a, b]"))),
            ("/all", Some("a|"), (200, text("[, a]"))),
            (
                "/one",
                Some("|a"),
                (400, text("multiple org IDs present\n")),
            ),
            ("/all", Some("|"), (401, text("no org id\n"))),
            (
                "/all",
                Some("a/b"),
                (
                    400,
                    text("tenant ID 'a/b' contains unsupported character '/'\n"),
                ),
            ),
            (
                "/all",
                Some("ünï"),
                (
                    400,
                    text("tenant ID 'ünï' contains unsupported character 'Ã'\n"),
                ),
            ),
        ] {
            let answer = ask(Auth::TenantHeader, path, header.map(str::as_bytes)).await;
            assert_eq!(answer, expected, "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_single_tenant_ignores_the_header() {
        assert_eq!(
            ask(Auth::Single, "/one", Some(b"a|b")).await,
            (200, "fake".to_owned())
        );
        assert_eq!(
            ask(Auth::Single, "/all", None).await,
            (200, "[fake]".to_owned())
        );
    }
}
