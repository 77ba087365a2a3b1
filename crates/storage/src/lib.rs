//! Keys, manifests, object store access, caches and snapshots of what exists.
