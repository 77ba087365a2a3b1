//! Pushes to a distributor whose ingesters take everything and keep nothing.

use std::cell::OnceCell;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use cluster::{Member, Members, Ring, Role};
use distributor::{Config, Distributor, Ingesters, Metrics};
use http::Request;
use model::{CodedError, Limits, TenantId};
use proto::role::{Ingest, Push, Refusal};
use server::Overrides;
use server::http::{Auth, tenant_routes};

use crate::NOW_NS;
use crate::service::Service;

struct Nowhere;

#[async_trait]
impl Ingest for Nowhere {
    async fn push(&self, _: &TenantId, push: Push) -> Result<Vec<Refusal>, CodedError> {
        for batch in &push.streams {
            assert!(!batch.labels.is_empty(), "a stream without labels");
            for row in &batch.entries {
                // Reading back finds what is not in order.
                assert!(row.metadata.iter().all(|label| !label.name.is_empty()));
            }
        }
        Ok(Vec::new())
    }
}

struct One(Arc<Ring>);

impl Ingesters for One {
    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0)
    }

    fn ingest(&self, _: &Member) -> Result<Arc<dyn Ingest>, CodedError> {
        Ok(Arc::new(Nowhere))
    }

    fn write_quorum(&self) -> usize {
        1
    }

    fn distributors(&self) -> usize {
        1
    }
}

fn service() -> Service {
    Service::new(|| {
        let member = Member::new("i0".to_owned(), "127.0.0.1:1", &[Role::Ingester]);
        let members = Members::new(1, [member]);
        let distributor = Distributor::new(
            &Config::default(),
            Arc::new(One(Arc::new(Ring::build(&members, 1, 128)))),
            Overrides::new(Limits {
                reject_old_samples: false,
                ..Limits::default()
            }),
            Arc::new(|| NOW_NS),
            Metrics::default(),
        );
        tenant_routes(distributor::routes(distributor), Auth::Single)
    })
}

/// Pushes a body.
pub fn push(path: &str, content_type: &str, encoding: &str, body: &[u8]) {
    thread_local! {
        static SERVICE: OnceCell<Service> = const { OnceCell::new() };
    }
    let mut request = Request::post(path).header("content-type", content_type);
    if !encoding.is_empty() {
        request = request.header("content-encoding", encoding);
    }
    let request = request.body(Body::from(body.to_vec()));
    SERVICE.with(|cell| {
        cell.get_or_init(service)
            .answer(request.expect("a request"))
    });
}
