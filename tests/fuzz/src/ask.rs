//! Requests to a querier of an empty store, without ingesters.

use std::cell::RefCell;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use model::Limits;
use model::units::DurationNs;
use querier::{Config, Metrics, Querier, Readers};
use server::Overrides;
use server::http::{Auth, tenant_routes};
use storage::testing::{Faults, Memory, faulty_memory};
use storage::{Catalog, Clock, StorageConfig};

use crate::NOW_NS;
use crate::service::Service;

fn service() -> Service {
    Service::new(|| {
        let config = StorageConfig::default();
        let store = faulty_memory(&Memory::default(), Faults::default());
        let readers = || Readers {
            ingesters: Vec::new(),
            failures_max: Some(0),
            copies: 1,
        };
        let limits = Limits {
            query_timeout: DurationNs::from_secs(5),
            ..Limits::default()
        };
        let querier = Querier::new(
            Config::default(),
            Catalog::new(store, &config, Clock::new(|| NOW_NS)),
            Arc::new(readers),
            Overrides::new(limits),
            Metrics::register(&mut Default::default()),
        );
        tenant_routes(querier::routes(querier), Auth::Single).merge(querier::open_routes())
    })
}

/// Inputs after which a new, empty store begins.
const INPUTS_OF_A_STORE: u32 = 64;

thread_local! {
    /// How many inputs the store has had, and the service over it.
    static SERVICE: RefCell<(u32, Service)> = RefCell::new((0, service()));
}

/// An input begins: what the requests of one find is what those before it left.
pub fn begin() {
    SERVICE.with_borrow_mut(|(inputs, of_store)| {
        *inputs += 1;
        if *inputs > INPUTS_OF_A_STORE {
            (*inputs, *of_store) = (1, service());
        }
    });
}

/// Sends a request, unless it is none of HTTP. Returns the status.
pub fn ask(method: &str, target: &str, content_type: &str, body: &[u8]) -> Option<u16> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("content-type", content_type)
        .body(Body::from(body.to_vec()))
        .ok()?;
    SERVICE.with_borrow(|(_, of_store)| Some(of_store.answer(request).0))
}
