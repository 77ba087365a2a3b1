//! The port of a registry whose database has not answered yet.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use server::http::REQUEST_ID_HEADER;
use tower::ServiceExt;

use crate::error::{Code, Error};
use crate::logs::new_id;

/// Routes that come later. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct LateRoutes(Arc<OnceLock<Router>>);

impl LateRoutes {
    /// What is served: until the routes are there, that the database does not answer.
    pub fn routes(&self) -> Router {
        let late = self.clone();
        Router::new().fallback(async move |request: Request| late.answer(request).await)
    }

    /// Here they are.
    pub fn set(&self, routes: Router) {
        let _ = self.0.set(routes);
    }

    async fn answer(self, request: Request) -> Response {
        let Some(routes) = self.0.get() else {
            let message = "the registry's database has not answered yet; try again";
            let rid = new_id();
            let error = Error::new(Code::Unavailable, message);
            return error.with_header(REQUEST_ID_HEADER, &rid).answer(&rid);
        };
        let Ok(answer) = routes.clone().oneshot(request).await;
        answer
    }
}
