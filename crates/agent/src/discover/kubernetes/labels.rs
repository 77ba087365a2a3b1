//! Names and values of meta labels.

use kube::ResourceExt;

use super::object::Object;
use crate::discover::meta::sanitized;
use crate::discover::target::Labels;

/// What all names of these labels begin with.
const PREFIX: &str = "__meta_kubernetes_";

/// Adds a label, `pod_name` being `__meta_kubernetes_pod_name`.
pub(super) fn put(labels: &mut Labels, name: &str, value: impl Into<String>) {
    labels.insert(format!("{PREFIX}{name}"), value.into());
}

/// Adds a label that has a value.
pub(super) fn put_some(labels: &mut Labels, name: &str, value: &str) {
    if !value.is_empty() {
        put(labels, name, value);
    }
}

/// Adds namespace, labels and annotations of an object, `pod_label_app` and the like.
pub(super) fn put_metadata(labels: &mut Labels, what: &str, object: &Object) {
    put_some(labels, "namespace", object.namespace());
    put_pairs(labels, what, object);
}

/// Adds labels and annotations of an object.
pub(super) fn put_pairs(labels: &mut Labels, what: &str, object: &Object) {
    for (kind, pairs) in [
        ("label", object.labels()),
        ("annotation", object.annotations()),
    ] {
        for (name, value) in pairs {
            let name = sanitized(name);
            put(labels, &format!("{what}_{kind}_{name}"), value);
            put(labels, &format!("{what}_{kind}present_{name}"), "true");
        }
    }
}

pub(super) fn text(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}
