//! Rule groups: kept and listed per tenant and namespace, each group an object in storage. Nothing
//! evaluates them yet.

mod group;
mod lenient;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use model::{Code, CodedError, TenantId};
use storage::{StorageError, key};

use crate::Querier;
pub use group::{Rule, RuleGroup};

/// Groups that are read at once.
const READS_AT_ONCE: usize = 8;

/// Groups by namespace, in order.
pub type Namespaces = BTreeMap<String, Vec<RuleGroup>>;

impl Querier {
    /// Keeps a group, in place of one of the same name.
    ///
    /// # Errors
    /// If the group is wrong, the tenant has too many, or storage fails.
    pub async fn put_rule_group(
        &self,
        tenant: &TenantId,
        namespace: &str,
        group: &RuleGroup,
    ) -> Result<(), CodedError> {
        group.check()?;
        self.check_rule_count(tenant, group.rules.len())?;
        let name = group.name.as_str();
        let key = key::rule_group_key(tenant, namespace, name);
        let store = self.catalog().store();
        let kept = store
            .list(&key::rules_directory(tenant, None), None)
            .await?;
        let max = self.config.rule_groups_per_tenant;
        if !kept.iter().any(|listed| listed.key == key) {
            let count = kept.len() + 1;
            self.check_group_count(tenant, count)?;
            if count > max {
                return Err(CodedError::new(
                    Code::InvalidArgument,
                    format!(
                        "too many rule groups: rule_groups_per_tenant is {max}, tenant {tenant}"
                    ),
                ));
            }
        }
        let text = serde_json::to_vec(group)
            .map_err(|error| CodedError::new(Code::Internal, error.to_string()))?;
        Ok(store.put(&key, Bytes::from(text)).await?)
    }

    fn check_rule_count(&self, tenant: &TenantId, count: usize) -> Result<(), CodedError> {
        let max = self.limits(tenant).ruler_max_rules_per_rule_group;
        if max == 0 || count <= max {
            return Ok(());
        }
        let text =
            format!("per-user rules per rule group limit (limit: {max} actual: {count}) exceeded");
        let error = CodedError::new(Code::InvalidArgument, text);
        Err(error.beyond("ruler_max_rules_per_rule_group", &max, tenant))
    }

    fn check_group_count(&self, tenant: &TenantId, count: usize) -> Result<(), CodedError> {
        let max = self.limits(tenant).ruler_max_rule_groups_per_tenant;
        if max == 0 || count <= max {
            return Ok(());
        }
        let text = format!("per-user rule groups limit (limit: {max} actual: {count}) exceeded");
        let error = CodedError::new(Code::InvalidArgument, text);
        Err(error.beyond("ruler_max_rule_groups_per_tenant", &max, tenant))
    }

    /// The groups of a tenant, of one namespace or all.
    ///
    /// # Errors
    /// If storage fails, or a group is damaged.
    pub async fn rule_groups(
        self: &Arc<Self>,
        tenant: &TenantId,
        namespace: Option<&str>,
    ) -> Result<Namespaces, CodedError> {
        let directory = key::rules_directory(tenant, namespace);
        let listed = self.catalog().store().list(&directory, None).await?;
        let names: Vec<(String, String)> = listed
            .iter()
            .filter_map(|listed| key::parse_rule_group_key(&listed.key))
            .collect();
        let reads = names.into_iter().map(|(namespace, group)| async move {
            let group = self.rule_group(tenant, &namespace, &group).await?;
            Ok::<_, CodedError>((namespace, group))
        });
        let mut namespaces = Namespaces::new();
        let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        while let Some((namespace, group)) = reads.try_next().await? {
            // One that was deleted meanwhile is not there.
            if let Some(group) = group {
                namespaces.entry(namespace).or_default().push(group);
            }
        }
        Ok(namespaces)
    }

    /// A group, if there is one of the name.
    ///
    /// # Errors
    /// If storage fails, or the group is damaged.
    pub async fn rule_group(
        &self,
        tenant: &TenantId,
        namespace: &str,
        group: &str,
    ) -> Result<Option<RuleGroup>, CodedError> {
        let key = key::rule_group_key(tenant, namespace, group);
        let text = match self.catalog().store().get(&key).await {
            Err(StorageError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let group = serde_json::from_slice(&text).map_err(|error| {
            CodedError::new(Code::Internal, format!("{key} is damaged: {error}"))
        })?;
        Ok(Some(group))
    }

    /// Deletes a group, or all of a namespace. Returns whether there was one.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn delete_rule_groups(
        &self,
        tenant: &TenantId,
        namespace: &str,
        group: Option<&str>,
    ) -> Result<bool, CodedError> {
        let store = self.catalog().store();
        let directory = key::rules_directory(tenant, Some(namespace));
        let wanted = group.map(|group| key::rule_group_key(tenant, namespace, group));
        let mut was_there = false;
        for listed in store.list(&directory, None).await? {
            if wanted.as_ref().is_none_or(|key| *key == listed.key) {
                store.delete(&listed.key).await?;
                was_there = true;
            }
        }
        Ok(was_there)
    }
}
