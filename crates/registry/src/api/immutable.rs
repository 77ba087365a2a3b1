//! Immutable tags as Harbor's clients say it: rules of the project, each with its number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answers::{At, Created};
use super::projects::{found, owner};
use super::query::{PAGES, Page};
use super::selector::{self, ScopeSelectors, Selector};
use super::{Admin, Body, Operations, Outcome, Path, answer};
use crate::auth::Role;
use crate::error::Error;
use crate::meta::{AddRule, ChangeRule, DeleteRule};
use crate::rule::{Keep, Kind, Rule};

/// What can be done with immutable tags, in Harbor's words.
pub(super) fn operations(all: Operations) -> Operations {
    let rules = "/projects/{project}/immutabletagrules";
    let rule = "/projects/{project}/immutabletagrules/{id}";
    let summary = "Which tags are immutable, in Harbor's words";
    all.about("immutable")
        .list(rules, "ListImmuRules", summary, &PAGES, list)
        .post(rules, "CreateImmuRule", "Make tags immutable", create)
        .put(rule, "UpdateImmuRule", "Change which tags are", update)
        .delete(rule, "DeleteImmuRule", "Let tags move again", delete)
}

/// A rule, of which template and action are always the same.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ImmutableRule")]
struct TagRule {
    #[serde(default)]
    id: i64,
    #[serde(default)]
    disabled: bool,
    #[serde(default = "action")]
    action: String,
    #[serde(default = "template")]
    template: String,
    #[serde(default)]
    params: Option<Value>,
    #[serde(default)]
    tag_selectors: Vec<Selector>,
    #[serde(default)]
    scope_selectors: ScopeSelectors,
}

fn action() -> String {
    "immutable".to_owned()
}

fn template() -> String {
    "immutable_template".to_owned()
}

impl TagRule {
    fn read(&self) -> Result<Rule, Error> {
        // Harbor reads no more than the first.
        let repositories = self.scope_selectors.read()?.single()?;
        let tags = selector::tags(&self.tag_selectors)?.single()?;
        let rule = Rule {
            kind: Kind::Immutable,
            repositories: repositories.globs,
            repositories_except: repositories.except,
            tags: tags.globs,
            tags_except: tags.except,
            tags_extras: tags.extras,
            disabled: self.disabled,
            keep: Keep::default(),
        };
        rule.scope()?;
        Ok(rule)
    }

    fn write(id: i64, rule: &Rule) -> Self {
        Self {
            id,
            disabled: rule.disabled,
            action: action(),
            template: template(),
            params: None,
            tag_selectors: selector::of_tags(rule),
            scope_selectors: ScopeSelectors::of(rule),
        }
    }
}

/// The project whose rules the caller looks after.
async fn project(admin: &Admin, text: String) -> Result<String, Error> {
    let project = owner(admin, text).await?;
    admin.require_role(&project, Some(Role::Maintainer)).await?;
    Ok(project)
}

async fn list(admin: Admin, Path(text): Path<String>) -> Outcome<Page<TagRule>> {
    answer(&admin, async {
        let project = found(&admin, &project(&admin, text).await?).await?;
        let rules = admin.registry.meta().rules(project.id).await?;
        let rules = rules.iter().filter(|one| one.rule.kind == Kind::Immutable);
        let rules = rules.map(|one| TagRule::write(one.id, &one.rule));
        admin.listed(&PAGES, rules.collect())
    })
    .await
}

async fn create(
    admin: Admin,
    Path(text): Path<String>,
    Body(rule): Body<TagRule>,
) -> Outcome<Created<At<()>>> {
    answer(&admin, async {
        let project = project(&admin, text).await?;
        let rules = format!("/projects/{project}/immutabletagrules");
        let add = AddRule {
            who: admin.who(),
            project,
            rule: rule.read()?,
        };
        let id = admin.registry.meta().change(add).await?;
        Ok(Created(At(Some(format!("{rules}/{id}")), ())))
    })
    .await
}

async fn update(
    admin: Admin,
    Path((text, id)): Path<(String, i64)>,
    Body(rule): Body<TagRule>,
) -> Outcome<()> {
    answer(&admin, async {
        let change = ChangeRule {
            who: admin.who(),
            project: project(&admin, text).await?,
            id,
            rule: rule.read()?,
        };
        admin.registry.meta().change(change).await
    })
    .await
}

async fn delete(admin: Admin, Path((text, id)): Path<(String, i64)>) -> Outcome<()> {
    answer(&admin, async {
        let project = project(&admin, text).await?;
        let who = admin.who();
        let delete = DeleteRule { who, project, id };
        admin.registry.meta().change(delete).await
    })
    .await
}
