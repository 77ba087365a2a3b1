//! Following the objects of one kind, with [`kube`]'s watcher: it lists, watches from there, goes on
//! where a watch was cut, and lists again when the server has forgotten where the watch was. What
//! was known stays until a new list is complete.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kube::Api;
use kube::core::Status;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, DefaultBackoff, Error, Event, watcher};
use tokio::sync::Notify;

use super::object::Object;

/// What a server answers that has forgotten a version.
const GONE: u16 = 410;

/// What is followed, and where it is kept.
pub(super) struct Watch {
    pub(super) api: Api<Object>,
    pub(super) config: watcher::Config,
    pub(super) known: Writer<Object>,
    /// Told of each change.
    pub(super) changed: Arc<Notify>,
}

impl Watch {
    /// Follows objects until it is dropped.
    pub(super) async fn run(mut self) {
        let mut waits = DefaultBackoff::default();
        let mut failures = 0_u32;
        loop {
            let mut events = pin!(watcher(self.api.clone(), self.config.clone()));
            while let Some(event) = events.next().await {
                let error = match event {
                    Ok(event) => {
                        self.known.apply_watcher_event(&event);
                        // That it is about to list is told before each try, and is no success.
                        if !matches!(event, Event::Init) {
                            (failures, waits) = (0, DefaultBackoff::default());
                            self.changed.notify_one();
                        }
                        continue;
                    }
                    Err(error) => error,
                };
                let answer = answer(&error);
                if failures == 0 || failures.is_power_of_two() {
                    let path = self.api.resource_url();
                    let text = answer.map_or_else(
                        || error.to_string(),
                        |status| format!("{} {}", status.code, status.message),
                    );
                    tracing::warn!(path, failures, error = text, "Kubernetes: trying again");
                }
                failures = failures.saturating_add(1);
                let is_gone = answer.is_some_and(|status| status.code == GONE);
                if is_gone {
                    // The server is there, and has forgotten where the watch was.
                    waits = DefaultBackoff::default();
                }
                tokio::time::sleep(waits.next().unwrap_or_default()).await;
                if is_gone {
                    // A new watcher lists.
                    break;
                }
            }
        }
    }
}

/// What the server has said, if it has answered.
fn answer(error: &Error) -> Option<&Status> {
    match error {
        Error::WatchError(status)
        | Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}
