//! What the APIs that tell of containers have in common.

use serde::{Deserialize, Deserializer};

/// A name with an underscore for each character that label names cannot have.
pub(crate) fn sanitized(name: &str) -> String {
    let replaced = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => c,
        _ => '_',
    };
    name.chars().map(replaced).collect()
}

/// An address with a port; IPv6 in brackets.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Null is as if it were not there.
pub(crate) fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
