//! `skald agent status`: how an agent is getting on, in a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

/// How long the agent may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What `/targets` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Targets {
    clients: BTreeMap<String, Vec<File>>,
    owed_bytes: BTreeMap<String, u64>,
    receiving: Vec<Receiving>,
}

/// What is no file and lines are taken from.
#[derive(Debug, Deserialize)]
struct Receiving {
    job: String,
    kind: String,
    name: String,
    state: String,
    last_line: Option<String>,
}

#[derive(Debug, Deserialize)]
struct File {
    job: String,
    path: String,
    read_bytes: u64,
    file_bytes: u64,
    lag_bytes: u64,
    lag_seconds: f64,
}

/// Asks the agent at `addr` and prints what it says.
pub(crate) async fn print(addr: &str) -> anyhow::Result<()> {
    let url = format!("{}/targets", addr.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let answer = client.get(&url).send().await?.error_for_status()?;
    let targets: Targets = answer
        .json()
        .await
        .with_context(|| format!("{url} is not an agent's"))?;
    print!("{}", table(&targets));
    Ok(())
}

fn table(targets: &Targets) -> String {
    let mut text = String::new();
    for (client, files) in &targets.clients {
        let owed = targets.owed_bytes.get(client).copied().unwrap_or(0);
        let behind: u64 = files.iter().map(|file| file.lag_bytes).sum();
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "{client}: {} files, {behind} bytes behind, {owed} bytes not acknowledged",
            files.len()
        );
        let _ = writeln!(
            text,
            "{:>14} {:>14} {:>12} {:>9}  JOB  FILE",
            "READ", "SIZE", "BEHIND", "SECONDS"
        );
        for file in files {
            let _ = writeln!(
                text,
                "{:>14} {:>14} {:>12} {:>9.1}  {}  {}",
                file.read_bytes,
                file.file_bytes,
                file.lag_bytes,
                file.lag_seconds,
                file.job,
                file.path
            );
        }
    }
    if !targets.receiving.is_empty() {
        let _ = writeln!(
            text,
            "{:<30} {:<8} {:<10} JOB  NAME",
            "LAST LINE", "KIND", "STATE"
        );
    }
    for one in &targets.receiving {
        let last = one.last_line.as_deref().unwrap_or("-");
        let state = match one.state.as_str() {
            "" => "-",
            state => state,
        };
        let _ = writeln!(
            text,
            "{last:<30} {:<8} {state:<10} {}  {}",
            one.kind, one.job, one.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shown_by_client() {
        let file = File {
            job: "j".to_owned(),
            path: "/a.log".to_owned(),
            read_bytes: 5,
            file_bytes: 9,
            lag_bytes: 4,
            lag_seconds: 1.25,
        };
        let shown = table(&Targets {
            clients: [("c".to_owned(), vec![file])].into(),
            owed_bytes: [("c".to_owned(), 7)].into(),
            receiving: vec![Receiving {
                job: "d".to_owned(),
                kind: "docker".to_owned(),
                name: "/web".to_owned(),
                state: "running".to_owned(),
                last_line: None,
            }],
        });
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "c: 1 files, 4 bytes behind, 7 bytes not acknowledged"
        );
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(words, ["5", "9", "4", "1.2", "j", "/a.log"]);
        let words: Vec<&str> = lines[4].split_whitespace().collect();
        assert_eq!(words, ["-", "docker", "running", "d", "/web"]);
    }
}
