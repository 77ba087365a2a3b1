//! Targets that Kubernetes knows: pods first of all.
//!
//! For each kind of object that a role needs, and each namespace, a [`watch`] follows the objects;
//! what is known lies in a [`World`]. Whenever it changes, the targets are made anew from all of it
//! and published. The API server may be away, refuse, or forget the place a watch was at: what was
//! known stays until something else is.

mod client;
mod kubeconfig;
mod labels;
mod object;
mod pod;
mod serving;
mod watch;
mod world;

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::groups::Publisher;
use super::target::Labels;
use crate::config::{KubernetesRole, KubernetesSd};
use kubeconfig::Place;
use server::Environment;
use watch::Watch;
use world::World;

/// How long changes are collected before targets are made of them.
const SETTLE: Duration = Duration::from_millis(100);

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Pod,
    Node,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

/// Finds targets in Kubernetes.
pub(crate) struct KubernetesFinder {
    client: Client,
    /// The agent's own namespace, if that is known.
    namespace: Option<String>,
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
        let place = Place::find(config, environment)?;
        Ok(Self {
            namespace: place.namespace.clone(),
            client: client::client(place)?,
            config: config.clone(),
            node: node.unwrap_or(hostname).to_owned(),
            publisher,
        })
    }

    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut namespaces = self.config.namespaces.names.clone();
        if self.config.namespaces.own_namespace {
            namespaces.extend(self.namespace.clone());
        }
        let mut world = World::default();
        let changed = Arc::new(Notify::new());
        let mut watches = tokio::task::JoinSet::new();
        for kind in self.kinds() {
            let everywhere = || Api::all_with(self.client.clone(), &kind);
            let in_one = |name: &String| Api::namespaced_with(self.client.clone(), name, &kind);
            let apis = if kind == Kind::Node || namespaces.is_empty() {
                vec![everywhere()]
            } else {
                namespaces.iter().map(in_one).collect()
            };
            for api in apis {
                let watch = Watch {
                    api,
                    config: self.filter(kind),
                    known: world.add(kind),
                    changed: changed.clone(),
                };
                watches.spawn(watch.run());
            }
        }
        loop {
            tokio::select! {
                // The watches end with the set.
                () = stop.cancelled() => return,
                () = changed.notified() => {}
            }
            tokio::time::sleep(SETTLE).await;
            self.publisher.set(self.targets(&world));
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
    fn filter(&self, kind: Kind) -> watcher::Config {
        let (mut labels, mut fields) = (Vec::new(), Vec::new());
        let selectors = self.config.selectors.iter();
        for selector in selectors.filter(|selector| kind_of(selector.role) == kind) {
            labels.push(selector.label.clone());
            fields.push(selector.field.clone());
        }
        if kind == Kind::Pod && self.config.role == KubernetesRole::Pod && !self.node.is_empty() {
            fields.push(format!("spec.nodeName={}", self.node));
        }
        watcher::Config {
            label_selector: all_of(labels),
            field_selector: all_of(fields),
            ..watcher::Config::default()
        }
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

/// Conditions that must all hold, if there are any.
fn all_of(mut conditions: Vec<String>) -> Option<String> {
    conditions.retain(|condition| !condition.is_empty());
    (!conditions.is_empty()).then(|| conditions.join(","))
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
