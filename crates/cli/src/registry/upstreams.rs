//! Other registries that projects are caches of.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::asked::{Asked, ListArgs, project};
use super::secret;
use crate::error::CliError;

/// What can be done with other registries.
#[derive(Clone, Debug, Subcommand)]
pub enum UpstreamCommand {
    /// List other registries that are known
    Registries {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make another registry known, that projects can be caches of
    CreateRegistry {
        /// What it is called here
        name: String,
        /// Where it is, such as https://registry-1.docker.io
        url: String,
        /// What names of images begin with that are from there, if not with its host
        #[arg(long)]
        namespace: Option<String>,
        /// Who logs in there; the password is read from standard input
        #[arg(long, value_name = "NAME")]
        login: Option<String>,
    },
    /// Change what another registry is called, or where it is
    SetRegistry {
        /// The registry's number
        id: i64,
        /// What it is called here
        #[arg(long)]
        name: Option<String>,
        /// Where it is
        #[arg(long)]
        url: Option<String>,
    },
    /// Change who logs in to another registry; the password is read from standard input
    SetRegistryLogin {
        /// The registry's number
        id: i64,
        /// Who logs in; nobody if this is not given
        login: Option<String>,
    },
    /// Ask another registry whether it is there and takes its login
    PingRegistry {
        /// Its number
        id: i64,
    },
    /// Forget another registry
    DeleteRegistry {
        /// Its number
        id: i64,
    },
    /// Make a project a cache of another registry, or an ordinary one again
    SetUpstream {
        /// The project
        project: String,
        /// The registry's number; 0 for none
        registry: i64,
        /// Have what it has in the place of the images that the project has
        #[arg(long)]
        replace: bool,
    },
}

fn credential(login: Option<String>) -> Result<Value, CliError> {
    Ok(match login {
        Some(name) => json!({"access_key": name, "access_secret": secret::password()?}),
        None => json!({"access_key": "", "access_secret": ""}),
    })
}

impl UpstreamCommand {
    pub(super) fn asked(self) -> Result<Asked, CliError> {
        Ok(match self {
            Self::Registries { list } => Asked::list("/registries", list),
            Self::CreateRegistry {
                name,
                url,
                namespace,
                login,
            } => {
                let mut body = Map::new();
                body.insert("name".to_owned(), name.into());
                body.insert("url".to_owned(), url.into());
                if let Some(namespace) = namespace {
                    body.insert("namespace".to_owned(), namespace.into());
                }
                if login.is_some() {
                    body.insert("credential".to_owned(), credential(login)?);
                }
                Asked::post("/registries", Value::Object(body))
            }
            Self::SetRegistry { id, name, url } => Asked::put(
                format!("/registries/{id}"),
                json!({"name": name, "url": url}),
            ),
            Self::SetRegistryLogin { id, login } => Asked::put(
                format!("/registries/{id}"),
                json!({"credential": credential(login)?}),
            ),
            Self::PingRegistry { id } => Asked::post("/registries/ping", json!({"id": id})),
            Self::DeleteRegistry { id } => Asked::delete(format!("/registries/{id}")),
            Self::SetUpstream {
                project,
                registry,
                replace,
            } => set_upstream(&project, registry, replace),
        })
    }
}

pub(super) fn set_upstream(name: &str, registry: i64, replace: bool) -> Asked {
    let body = json!({"registry_id": registry, "replace_images": replace});
    Asked::put(project(name), body)
}
