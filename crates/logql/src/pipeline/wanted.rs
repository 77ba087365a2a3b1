//! Which labels parsers have to find.
//!
//! A log query shows every label. A metric query often needs a few only: those it groups by, those
//! that later stages read and the one it unwraps. Parsers then look for these, stop when they have
//! all, and do not run at all if there are none. What a parser does not look at cannot set
//! `__error__` either; the reference behaves the same way, so the rules here are its rules.

use super::names::{FixedNames, NameId};

/// What a parsed label is called whose name is taken by the stream or its metadata.
pub(super) const EXTRACTED_SUFFIX: &str = "_extracted";

/// The label that says what went wrong in a stage.
pub(crate) const ERROR_LABEL: &str = "__error__";
/// The label with the text that belongs to [`ERROR_LABEL`].
pub(crate) const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// The label of samples whose error was asked for and does not fail the query.
pub(crate) const PRESERVE_ERROR_LABEL: &str = "__preserve_error__";

/// The labels that parsers look for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// `None`: all.
    names: Option<Vec<String>>,
    /// By number of a fixed name, if not all are wanted.
    by_id: Vec<bool>,
    count: usize,
    none: bool,
    preserve_error: bool,
}

impl Wanted {
    /// All labels, as a log query shows them.
    pub(super) fn all() -> Self {
        Self::default()
    }

    /// What a metric query needs: `read` are the labels that stages, grouping and unwrap read,
    /// `series` says whether every label tells series apart, `nothing` whether none does.
    pub(super) fn for_metric(
        read: &[String],
        series: bool,
        nothing: bool,
        names: &mut FixedNames,
    ) -> Self {
        let mut wanted: Vec<String> = Vec::new();
        for name in read {
            let plain = name.strip_suffix(EXTRACTED_SUFFIX);
            for name in [Some(name.as_str()), plain].into_iter().flatten() {
                if !name.is_empty() && !wanted.iter().any(|known| known == name) {
                    wanted.push(name.to_owned());
                }
            }
        }
        // Where every label counts the reference fails even if the error was asked for.
        let preserve_error = !series && wanted.iter().any(|name| name == ERROR_LABEL);
        if series || (nothing && wanted.is_empty()) {
            return Self {
                none: !series,
                preserve_error,
                ..Self::default()
            };
        }
        let ids: Vec<NameId> = wanted.iter().map(|name| names.intern(name)).collect();
        let mut by_id = vec![false; names.len()];
        for id in &ids {
            if let Some(flag) = by_id.get_mut(id.index()) {
                *flag = true;
            }
        }
        Self {
            count: wanted.len(),
            names: Some(wanted),
            by_id,
            none: false,
            preserve_error,
        }
    }

    /// The names, unless all are wanted.
    pub(super) fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Whether parsers need not run.
    pub(super) fn is_none(&self) -> bool {
        self.none
    }

    /// Whether every label counts.
    pub(super) fn is_all(&self) -> bool {
        self.names.is_none()
    }

    /// How many labels are to be found, unless all are wanted.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether this name is one of them; not to be asked if all are wanted.
    pub(super) fn is_listed(&self, id: NameId) -> bool {
        self.by_id.get(id.index()).copied().unwrap_or(false)
    }

    /// Whether a label of this name is wanted.
    pub(super) fn has(&self, name: &str) -> bool {
        let names = self.names.as_ref();
        names.is_none_or(|names| names.iter().any(|known| known == name))
    }

    /// Whether a label whose name starts so is wanted.
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        let names = self.names.as_ref();
        names.is_none_or(|names| names.iter().any(|known| known.starts_with(prefix)))
    }

    /// Whether the query reads `__error__`, so that an error does not fail it.
    pub(super) fn preserves_error(&self) -> bool {
        self.preserve_error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffixed_name_wants_the_plain_key_too() {
        let mut names = FixedNames::default();
        let read = ["app_extracted".to_owned(), "x".to_owned(), "x".to_owned()];
        let wanted = Wanted::for_metric(&read, false, false, &mut names);
        assert_eq!(wanted.count(), 3);
        assert!(wanted.has("app") && wanted.has("x") && !wanted.has("y"));
        assert!(wanted.has_prefix("app_") && !wanted.has_prefix("z"));
        assert!(wanted.is_listed(names.intern("app")) && !wanted.is_listed(names.intern("y")));
    }

    #[test]
    fn nothing_or_everything_is_wanted() {
        let mut names = FixedNames::default();
        assert!(Wanted::for_metric(&[], false, true, &mut names).is_none());
        let some = Wanted::for_metric(&["a".to_owned()], false, true, &mut names);
        assert!(!some.is_none() && !some.is_all());
        let all = Wanted::for_metric(&[ERROR_LABEL.to_owned()], true, false, &mut names);
        assert!(all.is_all() && !all.preserves_error() && all.has("any"));
        let error = Wanted::for_metric(&[ERROR_LABEL.to_owned()], false, true, &mut names);
        assert!(error.preserves_error());
    }
}
