//! Labels that a file declares, of a project or of the whole registry: those and no others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::asked::{Asked, Client};
use super::Step;
use crate::error::CliError;

/// A label as a file has it, or the registry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Label {
    description: String,
    color: String,
}

/// What makes the labels of a project, or those of the whole registry, what they are to be.
pub(super) async fn plan(
    client: &Client,
    project: Option<i64>,
    wanted: &BTreeMap<String, Label>,
) -> Result<Vec<Step>, CliError> {
    let path = match project {
        Some(id) => format!("/labels?scope=p&project_id={id}"),
        None => "/labels?scope=g".to_owned(),
    };
    Ok(steps(project, wanted, &client.all(&path).await?))
}

/// The same, if there are these now.
pub(super) fn steps(
    project: Option<i64>,
    wanted: &BTreeMap<String, Label>,
    are: &[Value],
) -> Vec<Step> {
    let text = |label: &Value, key: &str| label[key].as_str().unwrap_or_default().to_owned();
    let are: BTreeMap<String, (i64, Label)> = are
        .iter()
        .map(|label| {
            let is = Label {
                description: text(label, "description"),
                color: text(label, "color"),
            };
            let id = label["id"].as_i64().unwrap_or_default();
            (text(label, "name"), (id, is))
        })
        .collect();
    let mut steps = Vec::new();
    for (name, wanted) in wanted {
        let body = json!({
            "name": name, "description": wanted.description, "color": wanted.color,
            "scope": project.map_or("g", |_| "p"), "project_id": project,
        });
        match are.get(name) {
            None => steps.push((format!("label {name}"), Asked::post("/labels", body))),
            Some((_, is)) if is == wanted => {}
            Some((id, _)) => {
                let changed = Asked::put(format!("/labels/{id}"), body);
                steps.push((format!("label {name} changed"), changed));
            }
        }
    }
    for (name, (id, _)) in are.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        let gone = Asked::delete(format!("/labels/{id}"));
        steps.push((format!("no label {name}"), gone));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_done() {
        let wanted = "{tested: {color: '#00ff00'}, old: {}, new: {description: fresh}}";
        let wanted: BTreeMap<String, Label> = serde_yaml::from_str(wanted).unwrap();
        let label = |id: i64, name: &str, color: &str| json!({"id": id, "name": name, "description": "", "color": color});
        let are = [
            label(1, "tested", "#ff0000"),
            label(2, "old", ""),
            label(3, "gone", ""),
        ];
        let steps: Vec<String> = steps(Some(9), &wanted, &are)
            .iter()
            .map(|(what, asked)| format!("{what}: {} {}", asked.method, asked.path))
            .collect();
        assert_eq!(
            steps,
            [
                "label new: POST /labels",
                "label tested changed: PUT /labels/1",
                "no label gone: DELETE /labels/3",
            ]
        );
    }
}
