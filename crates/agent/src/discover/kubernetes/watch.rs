//! Following the objects of one kind: list, then watch from there, and list again when the server
//! has forgotten where the watch was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, ApiError, Event, Filter, Listed, name_of};
use super::object::Object;
use super::{Kind, Shared};

/// The first wait after a failure.
const WAIT_MIN: Duration = Duration::from_millis(200);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a watch may be silent: the server ends it before, so the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(330);

/// What a watch is of.
struct Scope {
    api: Arc<Api>,
    kind: Kind,
    namespace: Option<String>,
    filter: Filter,
    shared: Arc<Shared>,
}

/// Follows objects until it is dropped.
pub(super) async fn run(
    api: Arc<Api>,
    kind: Kind,
    namespace: Option<String>,
    filter: Filter,
    shared: Arc<Shared>,
) {
    let scope = Scope {
        api,
        kind,
        namespace,
        filter,
        shared,
    };
    let mut version = None;
    let mut failures = 0_u32;
    loop {
        match scope.follow(&mut version, &mut failures).await {
            Ok(()) => continue,
            Err(ApiError::Expired) => {
                tracing::debug!(?kind, "the watch has expired, listing again");
                version = None;
            }
            Err(ApiError::Failed(error)) => {
                if failures.is_power_of_two() || failures == 0 {
                    tracing::warn!(?kind, failures, error, "Kubernetes: trying again");
                }
                failures = failures.saturating_add(1);
            }
        }
        let wait = WAIT_MIN.saturating_mul(2_u32.saturating_pow(failures.min(16)));
        let wait = wait
            .min(WAIT_MAX)
            .mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::time::sleep(wait).await;
    }
}

impl Scope {
    /// Lists if no version is known, and watches until the server ends the watch.
    async fn follow(
        &self,
        version: &mut Option<String>,
        failures: &mut u32,
    ) -> Result<(), ApiError> {
        let namespace = self.namespace.as_deref();
        let from = match version {
            Some(version) => version,
            None => {
                let listed = self.api.list(self.kind, namespace, &self.filter).await?;
                let from = listed.resource_version.clone();
                self.replace(listed);
                version.insert(from)
            }
        };
        let mut events = self
            .api
            .watch(self.kind, namespace, &self.filter, from)
            .await?;
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, events.next()).await;
            let next = next.map_err(|_| ApiError::Failed("the watch is silent".to_owned()))?;
            let Some(event) = next? else {
                return Ok(());
            };
            *failures = 0;
            if let Some(newer) = self.apply(&event)? {
                *from = newer;
            }
        }
    }

    fn replace(&self, listed: Listed) {
        let mut world = self.shared.world.lock();
        let known: &mut BTreeMap<_, _> = world.0.entry(self.kind).or_default();
        known.retain(|(namespace, _), _| {
            self.namespace.as_ref().is_some_and(|own| own != namespace)
        });
        known.extend(listed.objects);
        self.shared.changed.notify_one();
    }

    /// Takes in a change; the version after it.
    fn apply(&self, event: &Event) -> Result<Option<String>, ApiError> {
        if event.kind == "ERROR" {
            #[derive(serde::Deserialize)]
            #[serde(default)]
            #[derive(Default)]
            struct Status {
                code: u16,
                message: String,
            }
            let status: Status = serde_json::from_str(event.object.get()).unwrap_or_default();
            return Err(match status.code {
                410 => ApiError::Expired,
                _ => ApiError::Failed(status.message),
            });
        }
        let object: Object = serde_json::from_str(event.object.get())
            .map_err(|error| ApiError::Failed(error.to_string()))?;
        let version = object.metadata.resource_version.clone();
        let version = (!version.is_empty()).then_some(version);
        let mut world = self.shared.world.lock();
        let known = world.0.entry(self.kind).or_default();
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => drop(known.insert(name_of(&object), object)),
            "DELETED" => drop(known.remove(&name_of(&object))),
            // A bookmark only has a version.
            _ => return Ok(version),
        }
        self.shared.changed.notify_one();
        Ok(version)
    }
}
