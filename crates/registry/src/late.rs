//! The port of a registry whose database has not answered yet.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower::ServiceExt;

use crate::error::{Code, Error};
use crate::logs::new_id;

/// Routes that come later. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct LateRoutes(Arc<OnceLock<Router>>);

impl LateRoutes {
    /// What is served: until the routes are there, that the database does not answer.
    #[must_use]
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
            return Error::new(Code::Unavailable, message).answer(&new_id());
        };
        let Ok(answer) = routes.clone().oneshot(request).await;
        answer
    }
}
