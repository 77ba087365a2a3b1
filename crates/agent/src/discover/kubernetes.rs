//! Targets that Kubernetes knows: pods first of all.
//!
//! For each kind of object that a role needs, and each namespace, a [`watch`] lists the objects and
//! follows their changes; what is known lies in a [`World`]. Whenever it changes, the targets are
//! made anew from all of it and published. The API server may be away, refuse, or forget the place
//! a watch was at: what was known stays until something else is.
//!
//! The client is the agent's own rather than a library of all of Kubernetes' types: of each object
//! only the fields that become labels are kept, so that memory does not grow with what else is in
//! it, and TLS, proxies and credentials are those of every other client of the agent.

mod api;
mod kubeconfig;
mod labels;
mod object;
mod pod;
mod serving;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::groups::Publisher;
use super::target::Labels;
use crate::config::{KubernetesRole, KubernetesSd};
use api::{Api, Filter};
use object::Object;
use server::Environment;

/// How long changes are collected before targets are made of them.
const SETTLE: Duration = Duration::from_millis(100);

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pod,
    Node,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

/// Namespace and name.
type Name = (String, String);

/// What is known of the cluster.
#[derive(Default)]
struct World(BTreeMap<Kind, BTreeMap<Name, Object>>);

impl World {
    fn all(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.0.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        let name = (namespace.to_owned(), name.to_owned());
        self.0.get(&kind)?.get(&name)
    }
}

/// The world with those who wait for its changes.
#[derive(Default)]
struct Shared {
    world: Mutex<World>,
    changed: Notify,
}

/// Finds targets in Kubernetes.
pub(crate) struct KubernetesFinder {
    api: Arc<Api>,
    config: KubernetesSd,
    /// The node this agent runs on.
    node: String,
    publisher: Publisher,
}

impl KubernetesFinder {
    pub(crate) fn new(
        config: &KubernetesSd,
        environment: &Environment,
        hostname: &str,
        publisher: Publisher,
    ) -> Result<Self, String> {
        let node = environment.get("HOSTNAME").filter(|name| !name.is_empty());
        Ok(Self {
            api: Arc::new(Api::new(config, environment)?),
            config: config.clone(),
            node: node.unwrap_or(hostname).to_owned(),
            publisher,
        })
    }

    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let shared = Arc::new(Shared::default());
        let mut namespaces = self.config.namespaces.names.clone();
        if self.config.namespaces.own_namespace {
            namespaces.extend(self.api.own_namespace());
        }
        let mut watches = tokio::task::JoinSet::new();
        for kind in self.kinds() {
            let scopes = if kind == Kind::Node || namespaces.is_empty() {
                vec![None]
            } else {
                namespaces.iter().cloned().map(Some).collect()
            };
            for namespace in scopes {
                let filter = self.filter(kind);
                let (api, shared) = (self.api.clone(), shared.clone());
                watches.spawn(watch::run(api, kind, namespace, filter, shared));
            }
        }
        loop {
            tokio::select! {
                // The watches end with the set.
                () = stop.cancelled() => return,
                () = shared.changed.notified() => {}
            }
            tokio::time::sleep(SETTLE).await;
            let targets = self.targets(&shared.world.lock());
            self.publisher.set(targets);
        }
    }

    /// What the role needs to know.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = match self.config.role {
            KubernetesRole::Pod => vec![Kind::Pod],
            KubernetesRole::Node => vec![Kind::Node],
            KubernetesRole::Service => vec![Kind::Service],
            KubernetesRole::Endpoints => vec![Kind::Endpoints, Kind::Service, Kind::Pod],
            KubernetesRole::EndpointSlice => vec![Kind::EndpointSlice, Kind::Service, Kind::Pod],
            KubernetesRole::Ingress => vec![Kind::Ingress],
        };
        if self.config.attach_metadata.node && !kinds.contains(&Kind::Node) {
            kinds.push(Kind::Node);
        }
        kinds
    }

    /// The selectors for a kind. Pods are those of this node, unless all are needed to know whom an
    /// address belongs to.
    fn filter(&self, kind: Kind) -> Filter {
        let mut filter = Filter::default();
        for selector in &self.config.selectors {
            if kind_of(selector.role) == kind {
                filter.add(&selector.label, &selector.field);
            }
        }
        if kind == Kind::Pod && self.config.role == KubernetesRole::Pod && !self.node.is_empty() {
            filter.add("", &format!("spec.nodeName={}", self.node));
        }
        filter
    }

    fn targets(&self, world: &World) -> Vec<Labels> {
        let with_node = self.config.attach_metadata.node;
        match self.config.role {
            KubernetesRole::Pod => pod::targets(world, with_node),
            KubernetesRole::Node => serving::nodes(world),
            KubernetesRole::Service => serving::services(world),
            KubernetesRole::Endpoints => serving::endpoints(world, with_node),
            KubernetesRole::EndpointSlice => serving::endpoint_slices(world, with_node),
            KubernetesRole::Ingress => serving::ingresses(world),
        }
    }
}

fn kind_of(role: KubernetesRole) -> Kind {
    match role {
        KubernetesRole::Pod => Kind::Pod,
        KubernetesRole::Node => Kind::Node,
        KubernetesRole::Service => Kind::Service,
        KubernetesRole::Endpoints => Kind::Endpoints,
        KubernetesRole::EndpointSlice => Kind::EndpointSlice,
        KubernetesRole::Ingress => Kind::Ingress,
    }
}

#[cfg(test)]
mod tests;
