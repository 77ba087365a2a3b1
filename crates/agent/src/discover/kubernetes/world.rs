//! What is known of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};

use super::Kind;
use super::object::Object;

/// Objects by kind; of each kind a store for each namespace that is looked at.
#[derive(Default)]
pub(super) struct World(BTreeMap<Kind, Vec<Store<Object>>>);

impl World {
    /// A store for objects of a kind, to be written to.
    pub(super) fn add(&mut self, kind: Kind) -> Writer<Object> {
        let writer = Writer::new(kind);
        self.0.entry(kind).or_default().push(writer.as_reader());
        writer
    }

    /// All objects of a kind, by namespace and name.
    pub(super) fn all(&self, kind: Kind) -> Vec<Arc<Object>> {
        let stores = self.0.get(&kind).into_iter().flatten();
        let mut objects: Vec<Arc<Object>> = stores.flat_map(Store::state).collect();
        objects.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        objects
    }

    /// An object; the namespace is empty for a node.
    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let name = ObjectRef::new_with(name, kind).within(namespace);
        self.0.get(&kind)?.iter().find_map(|store| store.get(&name))
    }
}
