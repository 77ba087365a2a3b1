//! Rules for tags, and labels.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::asked::{Asked, ListArgs, project};
use super::content::artifact;
use crate::error::CliError;

/// What can be done with rules and labels.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the rules of a project
    Rules {
        /// The project
        project: String,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Forbid that tags are moved or removed
    MakeImmutable {
        /// The project
        project: String,
        /// Repositories, without the project: a glob
        #[arg(long, default_value = "**")]
        repositories: String,
        /// Tags: a glob
        #[arg(long, default_value = "**")]
        tags: String,
    },
    /// Keep some tags and let others go
    Retain {
        /// The project
        project: String,
        /// Repositories, without the project: a glob
        #[arg(long, default_value = "**")]
        repositories: String,
        /// Tags: a glob
        #[arg(long, default_value = "**")]
        tags: String,
        /// What is kept
        #[command(flatten)]
        kept: Kept,
    },
    /// Have a rule of a project be as if it were not there
    DisableRule {
        /// The project
        project: String,
        /// The rule's number
        id: i64,
    },
    /// Have a rule of a project hold again
    EnableRule {
        /// The project
        project: String,
        /// The rule's number
        id: i64,
    },
    /// Remove a rule of a project
    DeleteRule {
        /// The project
        project: String,
        /// The rule's number
        id: i64,
    },
    /// Do what the retention rules of a project say
    RunRetention {
        /// The project
        project: String,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the retention of a project in Harbor's words
    Retention {
        /// The project's number
        project_id: i64,
    },
    /// List the runs of the retention of a project, newest first
    RetentionRuns {
        /// The project's number
        project_id: i64,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Have a run of the retention of a project stop
    StopRetention {
        /// The project's number
        project_id: i64,
        /// The run's number
        run: i64,
    },
    /// Set the retention of a project to a policy in Harbor's words, in JSON from standard input
    SetRetention {
        /// The project's number
        project_id: i64,
    },
    /// Let all tags of a project stay
    DeleteRetention {
        /// The project's number
        project_id: i64,
    },
    /// List labels: those that all projects may use, or those of one
    Labels {
        /// The project's number
        #[arg(long)]
        project_id: Option<i64>,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make a label
    CreateLabel {
        /// Its name
        name: String,
        /// The number of the project that it is for
        #[arg(long)]
        project_id: Option<i64>,
        /// What it means
        #[arg(long, default_value = "")]
        description: String,
        /// Its colour, such as `#48960C`
        #[arg(long, default_value = "")]
        color: String,
    },
    /// Change what a label is called, and what is said of it
    SetLabel {
        /// Its number
        id: i64,
        /// Its name
        name: String,
        /// What it means
        #[arg(long, default_value = "")]
        description: String,
        /// Its colour, such as `#48960C`
        #[arg(long, default_value = "")]
        color: String,
    },
    /// Remove a label, from artifacts too
    DeleteLabel {
        /// Its number
        id: i64,
    },
    /// Give an artifact a label
    Label {
        /// PROJECT/NAME
        repository: String,
        /// A tag or the digest of the artifact
        reference: String,
        /// The label's number
        id: i64,
    },
    /// Take a label from an artifact
    Unlabel {
        /// PROJECT/NAME
        repository: String,
        /// A tag or the digest of the artifact
        reference: String,
        /// The label's number
        id: i64,
    },
}

/// What of its tags a retention keeps.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Kept {
    /// How many of the tags that were pushed last are kept
    #[arg(long)]
    pub latest: Option<i64>,
    /// How many of the tags that were pulled last are kept
    #[arg(long)]
    pub latest_pulled: Option<i64>,
    /// How many of the tags that were pushed or pulled last are kept
    #[arg(long)]
    pub latest_active: Option<i64>,
    /// For how many days since their push tags are kept
    #[arg(long)]
    pub days: Option<i64>,
    /// For how many days since their last pull tags are kept, or since their push if there was none
    #[arg(long)]
    pub days_since_pull: Option<i64>,
}

/// The value in JSON that standard input has.
fn read_json() -> Result<Value, CliError> {
    let text = std::io::read_to_string(std::io::stdin())?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::Usage(format!("no JSON on standard input: {error}")))
}

fn rule(name: &str, rule: Value) -> Asked {
    Asked::post(format!("{}/rules", project(name)), rule)
}

fn switched(name: &str, id: i64, disabled: bool) -> Asked {
    let path = format!("{}/rules/{id}", project(name));
    Asked::of(Method::PATCH, path, Some(json!({"disabled": disabled})))
}

impl PolicyCommand {
    pub(super) fn asked(self) -> Result<Asked, CliError> {
        Ok(match self {
            Self::Rules {
                project: name,
                list,
            } => Asked::list(format!("{}/rules", project(&name)), list),
            Self::MakeImmutable {
                project,
                repositories,
                tags,
            } => rule(
                &project,
                json!({"kind": "immutable", "repositories": repositories, "tags": tags}),
            ),
            Self::Retain {
                project,
                repositories,
                tags,
                kept,
            } => retain(&project, &repositories, &tags, &kept),
            Self::DeleteRule { project: name, id } => {
                Asked::delete(format!("{}/rules/{id}", project(&name)))
            }
            Self::DisableRule { project, id } => switched(&project, id, true),
            Self::EnableRule { project, id } => switched(&project, id, false),
            Self::RunRetention {
                project: name,
                dry_run,
            } => Asked::post(
                format!("{}/retention", project(&name)),
                json!({"dry_run": dry_run}),
            ),
            Self::RetentionRuns { project_id, list } => {
                Asked::list(format!("/retentions/{project_id}/executions"), list)
            }
            Self::StopRetention { project_id, run } => {
                let path = format!("/retentions/{project_id}/executions/{run}");
                Asked::of(Method::PATCH, path, Some(json!({"action": "stop"})))
            }
            Self::Retention { project_id } => Asked::get(format!("/retentions/{project_id}")),
            Self::SetRetention { project_id } => {
                Asked::put(format!("/retentions/{project_id}"), read_json()?)
            }
            Self::DeleteRetention { project_id } => {
                Asked::delete(format!("/retentions/{project_id}"))
            }
            Self::Labels { project_id, list } => {
                let path = match project_id {
                    Some(id) => format!("/labels?scope=p&project_id={id}"),
                    None => "/labels?scope=g".to_owned(),
                };
                Asked::list(path, list)
            }
            Self::CreateLabel {
                name,
                project_id,
                description,
                color,
            } => {
                let scope = project_id.map_or("g", |_| "p");
                let body = json!({
                    "name": name, "scope": scope, "project_id": project_id,
                    "description": description, "color": color,
                });
                Asked::post("/labels", body)
            }
            Self::SetLabel {
                id,
                name,
                description,
                color,
            } => {
                let body = json!({"name": name, "description": description, "color": color});
                Asked::put(format!("/labels/{id}"), body)
            }
            Self::DeleteLabel { id } => Asked::delete(format!("/labels/{id}")),
            Self::Label {
                repository,
                reference,
                id,
            } => {
                let path = format!("{}/labels", artifact(&repository, &reference));
                Asked::post(path, json!({"id": id}))
            }
            Self::Unlabel {
                repository,
                reference,
                id,
            } => {
                let path = format!("{}/labels/{id}", artifact(&repository, &reference));
                Asked::delete(path)
            }
        })
    }
}

fn retain(project: &str, repositories: &str, tags: &str, kept: &Kept) -> Asked {
    let body = json!({
        "kind": "retention",
        "repositories": repositories,
        "tags": tags,
        "latestPushedK": kept.latest,
        "latestPulledN": kept.latest_pulled,
        "latestActiveK": kept.latest_active,
        "nDaysSinceLastPush": kept.days,
        "nDaysSinceLastPull": kept.days_since_pull,
    });
    rule(project, body)
}
