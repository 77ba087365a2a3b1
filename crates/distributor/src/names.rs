//! Names of metadata: anything comes in, label names go out.

use std::borrow::Cow;

use model::is_valid_label_name;
use model::units::quote;

/// A name that nothing can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("label name is empty")]
    Empty,
    #[error("normalization for label name {} resulted in invalid name {}", quote(.name), quote(.normalized))]
    OnlyUnderscores { name: String, normalized: String },
}

/// The name with everything that a label name must not have turned into underscores.
pub(crate) fn normalized(name: &str) -> Result<Cow<'_, str>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let normalized = if is_valid_label_name(name) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(replaced(name))
    };
    if normalized.bytes().all(|b| b == b'_') {
        return Err(NameError::OnlyUnderscores {
            name: name.to_owned(),
            normalized: normalized.into_owned(),
        });
    }
    Ok(normalized)
}

/// Each run of characters that are not allowed becomes one underscore; a leading digit gets the
/// prefix that OpenTelemetry's translation to Prometheus gives it.
fn replaced(name: &str) -> String {
    let mut normalized = String::with_capacity(name.len() + 4);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        normalized.push_str("key_");
    }
    let mut in_run = false;
    for c in name.chars() {
        let allowed = c.is_ascii_alphanumeric();
        if allowed {
            normalized.push(c);
        } else if !in_run {
            normalized.push('_');
        }
        in_run = !allowed;
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("k8s.pod-name", "k8s_pod_name"),
            ("ünï", "_n_"),
            ("1d", "key_1d"),
            ("plain__name", "plain__name"),
            ("a..b", "a_b"),
        ] {
            assert_eq!(normalized(name).as_deref(), Ok(expected));
        }
        let error = normalized("é").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"normalization for label name "é" resulted in invalid name "_""#
        );
        assert_eq!(normalized(""), Err(NameError::Empty));
    }
}
