//! Other registries that a file declares, and projects that are caches of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::asked::{self, Asked, Client};
use super::super::upstreams::set_upstream;
use super::{Does, Step, Wanted};
use crate::error::CliError;
use crate::writeln_stderr;

/// The numbers of registries, by their names.
pub(super) type Numbers = BTreeMap<String, i64>;

/// What another registry is to be, or is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    url: String,
    namespace: Option<String>,
    username: Option<String>,
    /// The file that has the password.
    password_file: Option<PathBuf>,
}

/// Makes registries what a file says that they are; gives the numbers of all, if it speaks of any.
pub(super) async fn apply(
    client: &Client,
    does: &mut Does<'_>,
    wanted: &Wanted,
) -> Result<Numbers, CliError> {
    let known = known(client, wanted).await?;
    let number = |value: &Value| value["id"].as_i64();
    let mut numbers: Numbers = known
        .iter()
        .filter_map(|(name, known)| Some((name.clone(), number(known)?)))
        .collect();
    for (name, wanted) in &wanted.registries {
        if let Some(step) = plan(name, wanted, known.get(name), does.passwords)? {
            let made = does.step(&format!("registry {name}"), step).await?;
            // What was only said has no number.
            let made = number(&made).unwrap_or_default();
            numbers.entry(name.clone()).or_insert(made);
        } else if wanted.password_file.is_some() {
            let warning = "its password is not compared; --passwords sets it again";
            let _ = writeln_stderr(&format!("registry {name}: {warning}"));
        }
    }
    Ok(numbers)
}

/// The registries that are known, by their names, if the file speaks of any.
async fn known(client: &Client, wanted: &Wanted) -> Result<BTreeMap<String, Value>, CliError> {
    let mut projects = wanted.projects.values();
    if wanted.registries.is_empty() && projects.all(|project| project.upstream.is_none()) {
        return Ok(BTreeMap::new());
    }
    let known = client.all("/registries").await?;
    let named = |one: &Value| Some((one["name"].as_str()?.to_owned(), one.clone()));
    Ok(known.iter().filter_map(named).collect())
}

/// What makes a registry what it is to be. Passwords are never shown, so that another one alone is
/// no difference, unless passwords are to be set again.
fn plan(
    name: &str,
    wanted: &Upstream,
    is: Option<&Value>,
    passwords: bool,
) -> Result<Option<Step>, CliError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let username = wanted.username.clone().unwrap_or_default();
    if let Some(is) = is {
        let namespace = wanted.namespace.clone();
        let same_namespace = namespace.is_none_or(|wanted| wanted == text(&is["namespace"]));
        let same = text(&is["url"]) == wanted.url.trim_end_matches('/')
            && text(&is["credential"]["access_key"]) == username;
        let same_password = !passwords || wanted.password_file.is_none();
        if same && same_namespace && same_password {
            return Ok(None);
        }
    }
    let password = match &wanted.password_file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            let file = file.display();
            CliError::Usage(format!("registry {name}: cannot read {file}: {error}"))
        })?,
        None => String::new(),
    };
    let mut body = json!({
        "name": name,
        "url": wanted.url,
        "credential": {"access_key": username, "access_secret": password.trim_end()},
    });
    if let Some(namespace) = &wanted.namespace {
        body["namespace"] = namespace.as_str().into();
    }
    Ok(Some(match is {
        Some(is) => (
            "changed".to_owned(),
            Asked::put(format!("/registries/{}", is["id"]), body),
        ),
        None => ("made known".to_owned(), Asked::post("/registries", body)),
    }))
}

/// The name of what a project is a cache of; no name if it is none.
pub(super) fn of_project(project: &Value, numbers: &Numbers) -> String {
    let id = project["registry_id"].as_i64();
    let found = numbers.iter().find(|(_, number)| Some(**number) == id);
    found.map(|(name, _)| name.clone()).unwrap_or_default()
}

/// Refuses to have another registry take the place of a project's images, unless the file says so.
pub(super) async fn check_replaces(client: &Client, wanted: &Wanted) -> Result<(), CliError> {
    let known = known(client, wanted).await?;
    for (name, project) in &wanted.projects {
        let upstream = project.upstream.as_deref().unwrap_or_default();
        if upstream.is_empty() || project.replace_images {
            continue;
        }
        let is = match client.ask(Asked::get(asked::project(name))).await {
            Err(CliError::Refused { status: 404, .. }) => continue,
            is => is?,
        };
        let is_cache = known
            .get(upstream)
            .is_some_and(|known| known["id"] == is["registry_id"]);
        let count = is["repo_count"].as_i64().unwrap_or_default();
        if count > 0 && !is_cache {
            return Err(CliError::Usage(format!(
                "project {name} has {count} repositories: as a cache it shows what {upstream} has in \
                 their place; replace_images: true says that this is meant"
            )));
        }
    }
    Ok(())
}

/// What makes a project a cache, or none.
pub(super) fn plan_project(
    name: &str,
    upstream: &str,
    replaces: bool,
    numbers: &Numbers,
) -> Result<Step, CliError> {
    if upstream.is_empty() {
        return Ok(("no cache any more".to_owned(), set_upstream(name, 0, false)));
    }
    let number = numbers.get(upstream).copied().ok_or_else(|| {
        let message = format!("project {name}: there is no registry {upstream}");
        CliError::Usage(message)
    })?;
    let what = format!("a cache of {upstream}");
    Ok((what, set_upstream(name, number, replaces)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_changed_where_they_differ() {
        let wanted: Upstream =
            serde_yaml::from_str("{url: 'https://quay.io/', username: me}").unwrap();
        let mut is = json!({"id": 7, "url": "https://quay.io", "namespace": "quay.io",
            "credential": {"access_key": "me"}});
        assert!(plan("quay", &wanted, Some(&is), false).unwrap().is_none());
        let made = plan("quay", &wanted, None, false).unwrap().unwrap().1;
        assert_eq!(
            (made.method.as_str(), made.path.as_str()),
            ("POST", "/registries")
        );
        is["credential"] = Value::Null;
        let changed = plan("quay", &wanted, Some(&is), false).unwrap().unwrap().1;
        assert_eq!(
            (changed.method.as_str(), changed.path.as_str()),
            ("PUT", "/registries/7")
        );
    }
}
