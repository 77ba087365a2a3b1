//! The registry as a whole.

use std::io::Read;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::asked::{Asked, ListArgs, encoded, project};
use crate::error::CliError;

/// Bytes of the longest list of images.
const INPUT_BYTES_MAX: u64 = 8 << 20;

/// What can be done with the registry as a whole.
#[derive(Clone, Debug, Subcommand)]
pub enum SystemCommand {
    /// Count projects and repositories, and the bytes that they have
    Statistics,
    /// List what robots can be given
    Permissions,
    /// Say what waits for garbage collection
    Gc,
    /// List the runs of garbage collection, newest first
    GcRuns {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Say when garbage is collected
    GcSchedule,
    /// Have garbage collected by a schedule, by one process at a time
    SetGcSchedule {
        /// hourly, daily, weekly, or cron with six fields (second minute hour day month weekday) in
        /// UTC; none is by no schedule: all the time
        when: String,
        /// Leave what lost its last tag
        #[arg(long)]
        keep_untagged: bool,
    },
    /// List what happened, newest first: all of it, or in the projects that one has a role in
    Audit {
        /// In this project only
        #[arg(long)]
        project: Option<String>,
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show what can be set while the registry runs, and what holds
    Configuration,
    /// Set some of that, all or nothing
    Configure {
        /// NAME=VALUE; without a value it is as the configuration has it
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Collect garbage now
    RunGc {
        /// Say what would be removed if all graces were over, and remove nothing
        #[arg(long)]
        dry_run: bool,
        /// Leave what lost its last tag
        #[arg(long)]
        keep_untagged: bool,
    },
    /// Have a run of garbage collection stop
    StopGc {
        /// The run's number
        run: i64,
    },
    /// List the clusters that said what they run
    Running {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Say what a cluster runs, which retention then leaves alone for a day: an image with its digest
    /// in each line of standard input; a robot of `create-robot --running` may do that too
    SetRunning {
        /// The cluster
        cluster: String,
        /// It runs nothing any more; standard input is not read
        #[arg(long, conflicts_with = "fewer")]
        nothing: bool,
        /// It does not run any more what is not among them, however much that is
        #[arg(long)]
        fewer: bool,
    },
    /// Compare database and store while the registry goes on; fails if something is not as it
    /// should be
    Fsck {
        /// Read all bytes and compare them with their digests
        #[arg(long)]
        read_bytes: bool,
        /// Remove bytes that no row names, and correct the sums of quotas
        #[arg(long)]
        repair: bool,
    },
    /// List the keys that sign tokens
    Keys {
        /// What is printed
        #[command(flatten)]
        list: ListArgs,
    },
    /// Sign tokens with a new key from now on; those that were given hold on
    RotateKey,
}

impl SystemCommand {
    pub(super) fn asked(self) -> Result<Asked, CliError> {
        Ok(match self {
            Self::Statistics => Asked::get("/statistics"),
            Self::Permissions => Asked::get("/permissions"),
            Self::Gc => Asked::get("/system/gc/backlog"),
            Self::GcRuns { list } => Asked::list("/system/gc", list),
            Self::GcSchedule => Asked::get("/system/gc/schedule"),
            Self::SetGcSchedule {
                when,
                keep_untagged,
            } => set_schedule(&when, keep_untagged),
            Self::Audit {
                project: name,
                list,
            } => {
                let path = name.map(|name| format!("{}/logs", project(&name)));
                Asked::list(path.unwrap_or_else(|| "/audit-logs".to_owned()), list)
            }
            Self::Configuration => Asked::get("/configurations"),
            Self::Configure { settings } => configure(&settings)?,
            Self::RunGc {
                dry_run,
                keep_untagged,
            } => Asked::post(
                "/system/gc",
                json!({"dry_run": dry_run, "delete_untagged": !keep_untagged}),
            ),
            Self::StopGc { run } => {
                Asked::put(format!("/system/gc/{run}"), json!({"status": "Stop"}))
            }
            Self::Fsck { read_bytes, repair } => Asked::post(
                "/system/fsck",
                json!({"read_bytes": read_bytes, "repair": repair}),
            ),
            Self::Keys { list } => Asked::list("/system/keys", list),
            Self::RotateKey => Asked::of(Method::POST, "/system/keys", None),
            Self::Running { list } => Asked::list("/running", list),
            Self::SetRunning {
                cluster,
                nothing,
                fewer,
            } => {
                let lines = match nothing {
                    true => None,
                    false => Some(read_lines()?),
                };
                set_running(&cluster, lines.as_deref(), fewer)?
            }
        })
    }
}

/// When garbage is collected, as the API says it.
fn set_schedule(when: &str, keep_untagged: bool) -> Asked {
    let schedule = match when.to_lowercase().as_str() {
        "hourly" => json!({"type": "Hourly"}),
        "daily" => json!({"type": "Daily"}),
        "weekly" => json!({"type": "Weekly"}),
        "always" | "none" => json!({"type": "None"}),
        _ => json!({"type": "Custom", "cron": when}),
    };
    let parameters = json!({"delete_untagged": !keep_untagged});
    Asked::put(
        "/system/gc/schedule",
        json!({"schedule": schedule, "parameters": parameters}),
    )
}

/// Names and values as the API has them: a value is in JSON, or a text.
fn configure(settings: &[String]) -> Result<Asked, CliError> {
    let pair = |setting: &String| {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("`{setting}` is not like NAME=VALUE")))?;
        let value = match value {
            "" => Value::Null,
            value => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
        };
        Ok((name.to_owned(), value))
    };
    let values: Result<Map<String, Value>, CliError> = settings.iter().map(pair).collect();
    Ok(Asked::put("/configurations", Value::Object(values?)))
}

fn read_lines() -> Result<String, CliError> {
    let mut lines = String::new();
    let stdin = std::io::stdin().take(INPUT_BYTES_MAX);
    std::io::BufReader::new(stdin).read_to_string(&mut lines)?;
    Ok(lines)
}

/// Containers that have not begun yet have no image. Lines without any are no cluster that runs
/// nothing, but what is left of a command that failed.
fn set_running(cluster: &str, lines: Option<&str>, fewer: bool) -> Result<Asked, CliError> {
    let path = format!("/running/{}", encoded(cluster));
    let Some(lines) = lines else {
        return Ok(Asked::put(path, json!({"images": [], "nothing": true})));
    };
    let lines = lines.lines().map(str::trim);
    let images: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if images.is_empty() {
        let message = "standard input has no image; with --nothing the cluster runs none";
        return Err(CliError::Usage(message.to_owned()));
    }
    let mut body = json!({"images": images});
    if fewer {
        // Registries that are older do not know of it.
        body["fewer"] = true.into();
    }
    Ok(Asked::put(path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_values() {
        let asked = configure(&[
            "read_only=true".to_owned(),
            "a=".to_owned(),
            "b=x=y".to_owned(),
        ]);
        let body = json!({"read_only": true, "a": null, "b": "x=y"});
        assert_eq!(asked.unwrap().body, Some(body));
        assert!(configure(&["read_only".to_owned()]).is_err());
        for (when, schedule) in [
            (
                "0 0 3 * JAN *",
                json!({"type": "Custom", "cron": "0 0 3 * JAN *"}),
            ),
            ("Daily", json!({"type": "Daily"})),
            ("none", json!({"type": "None"})),
            ("always", json!({"type": "None"})),
        ] {
            let body = set_schedule(when, true).body.unwrap();
            assert_eq!(body["schedule"], schedule, "{when}");
            assert_eq!(body["parameters"], json!({"delete_untagged": false}));
        }
    }

    #[test]
    fn lines_are_images() {
        let lines = Some("a@sha256:1\n\n  b@sha256:2\n");
        let asked = set_running("prod", lines, false).unwrap();
        assert_eq!(asked.path, "/running/prod");
        assert_eq!(
            asked.body,
            Some(json!({"images": ["a@sha256:1", "b@sha256:2"]}))
        );
        for nothing in ["", "\n \n"] {
            assert!(set_running("prod", Some(nothing), true).is_err());
        }
        let body = json!({"images": [], "nothing": true});
        let asked = set_running("prod", None, false).unwrap();
        assert_eq!(asked.body, Some(body));
        let body = json!({"images": ["a@sha256:1", "b@sha256:2"], "fewer": true});
        let asked = set_running("prod", lines, true).unwrap();
        assert_eq!(asked.body, Some(body));
    }
}
