//! Queries over several tenants (`X-Scope-OrgID: a|b`): each tenant answers for itself, and what
//! it answers carries the label `__tenant_id__`. Matchers of that label choose among the tenants
//! and are gone when streams are selected. With one tenant the name means nothing.

use std::sync::Arc;

use logql::syntax;
use logql::syntax::ast::LogExpr;
use model::{Code, CodedError, LabelSet, Matcher, RowLabels, TenantId};
use proto::role::LogRow;

/// The label that says whose a line or series is.
pub(crate) const TENANT_LABEL: &str = "__tenant_id__";
/// What a stream's own label of that name is called then.
const RENAMED_LABEL: &str = "original___tenant_id__";

/// One tenant's part of a query.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Whose.
    pub(crate) tenant: TenantId,
    /// The selector, without matchers that choose tenants.
    pub(crate) matchers: Vec<Matcher>,
    /// Whether there are other tenants.
    is_tagged: bool,
}

/// The parts of a query; none for tenants that the selector leaves out.
pub(crate) fn shares(matchers: &[Matcher], tenants: &[TenantId]) -> Vec<Share> {
    let is_tagged = tenants.len() > 1;
    let chooses = |matcher: &&Matcher| is_tagged && matcher.name() == TENANT_LABEL;
    let (choosing, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(chooses);
    let others: Vec<Matcher> = others.into_iter().cloned().collect();
    let is_chosen = |tenant: &&TenantId| {
        choosing
            .iter()
            .all(|matcher| matcher.matches_value(tenant.as_str()))
    };
    let share = |tenant: &TenantId| Share {
        tenant: tenant.clone(),
        matchers: others.clone(),
        is_tagged,
    };
    let has_data = |tenant: &&TenantId| !tenant.is_nameless();
    tenants
        .iter()
        .filter(has_data)
        .filter(is_chosen)
        .map(share)
        .collect()
}

/// The parts of a query that reads lines.
///
/// # Errors
/// If nothing but matchers of tenants is left of the selector.
pub(crate) fn log_shares(
    log: &LogExpr,
    tenants: &[TenantId],
) -> Result<Vec<(Share, LogExpr)>, CodedError> {
    let mut parts = Vec::new();
    for share in shares(&log.matchers, tenants) {
        let log = LogExpr {
            matchers: share.matchers.clone(),
            stages: log.stages.clone(),
        };
        if share.is_tagged {
            check_selector(&log)?;
        }
        parts.push((share, log));
    }
    Ok(parts)
}

fn check_selector(log: &LogExpr) -> Result<(), CodedError> {
    let selector = LogExpr {
        matchers: log.matchers.clone(),
        stages: Vec::new(),
    };
    syntax::parse_log(&selector.to_string())
        .map(|_| ())
        .map_err(|error| {
            CodedError::new(
                Code::InvalidArgument,
                format!("log selector is invalid after matcher update: {error}"),
            )
        })
}

impl Share {
    /// The same, for answers without labels of tenants.
    pub(crate) fn untagged(mut self) -> Self {
        self.is_tagged = false;
        self
    }

    /// Labels as the answer shows them.
    pub(crate) fn labels(&self, labels: &LabelSet) -> LabelSet {
        if !self.is_tagged {
            return labels.clone();
        }
        let own = labels.iter().map(|label| {
            let name = match &*label.name {
                TENANT_LABEL => RENAMED_LABEL.into(),
                _ => Arc::clone(&label.name),
            };
            (name, Arc::clone(&label.value))
        });
        let tag = (Arc::from(TENANT_LABEL), Arc::from(self.tenant.as_str()));
        LabelSet::from_pairs(own.chain([tag]))
    }

    /// Lines as the answer shows them.
    pub(crate) fn rows(&self, mut rows: Vec<LogRow>) -> Vec<LogRow> {
        if !self.is_tagged {
            return rows;
        }
        let mut last: Option<(Arc<RowLabels>, Arc<RowLabels>)> = None;
        for row in &mut rows {
            let tagged = match &last {
                Some((labels, tagged)) if Arc::ptr_eq(labels, &row.labels) => Arc::clone(tagged),
                _ => Arc::new(RowLabels {
                    stream: self.labels(&row.labels.stream),
                    ..RowLabels::clone(&row.labels)
                }),
            };
            last = Some((
                std::mem::replace(&mut row.labels, Arc::clone(&tagged)),
                tagged,
            ));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(names: &[&str]) -> Vec<TenantId> {
        names
            .iter()
            .map(|name| TenantId::new(name).unwrap())
            .collect()
    }

    fn log(text: &str) -> LogExpr {
        syntax::parse_log(text).unwrap()
    }

    #[test]
    fn the_label_chooses_among_several_tenants_only() {
        let log = log(r#"{app="x", __tenant_id__!="a"}"#);
        let shares = shares(&log.matchers, &tenants(&["a", "b"]));
        assert_eq!(shares.len(), 1);
        assert_eq!(
            (shares[0].tenant.as_str(), shares[0].matchers.len()),
            ("b", 1)
        );
        let alone = super::shares(&log.matchers, &tenants(&["a"]));
        assert_eq!(alone[0].matchers.len(), 2);
        assert_eq!(alone[0].labels(&LabelSet::default()), LabelSet::default());
    }

    #[test]
    fn a_selector_of_tenants_alone_is_refused() {
        let error = log_shares(&log(r#"{__tenant_id__="b"}"#), &tenants(&["a", "b"])).unwrap_err();
        assert!(
            error.message.starts_with(
                "log selector is invalid after matcher update: parse error : queries require"
            ),
            "{error}"
        );
    }

    #[test]
    fn labels_say_whose_they_are() {
        let share = shares(&[], &tenants(&["a", "b"])).remove(0);
        let labels = share.labels(&LabelSet::from_pairs([
            ("__tenant_id__", "mine"),
            ("app", "x"),
        ]));
        assert_eq!(
            labels.to_string(),
            r#"{__tenant_id__="a", app="x", original___tenant_id__="mine"}"#
        );
    }
}
