//! `skald serve --tail` on log files, as a user tries it first: every line is found with `skald
//! query`, counted exactly, seen live, and still there after a restart and in the store.

mod disk;
mod files;
mod live;
mod rotation;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure};
use tempfile::TempDir;
use tests::api::Api;
use tests::command::{Output, run};
use tests::lines::{SECOND_NS, now_ns};
use tests::process::{Launch, Process};
use tests::wait_for;

/// A server that collects the files of a directory.
struct Site {
    // Before the directory, which it uses to its end.
    process: Process,
    directory: TempDir,
}

impl Site {
    /// Starts with `--tail` on `*.log` of [`Self::path`].
    async fn start() -> anyhow::Result<Self> {
        Self::start_on(&[]).await
    }

    /// The same with files that are there before.
    async fn start_on(files: &[(&str, &[String])]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let logs = directory.path().join("logs");
        std::fs::create_dir(&logs)?;
        for (name, lines) in files {
            append(&logs.join(name), lines)?;
        }
        let glob = format!("--tail={}/*.log", logs.display());
        let process = Launch::serve(directory.path(), &[&glob])?.start().await?;
        Ok(Self { process, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    /// Selects the lines of a file, or of files that match a regular expression.
    fn selector(&self, pattern: &str) -> String {
        let path = self.path(pattern).display().to_string();
        format!(r#"{{filename=~{path:?}}}"#)
    }

    fn api(&self) -> Api {
        self.process.api()
    }

    async fn restarted(self) -> anyhow::Result<Self> {
        let process = self.process.stop().await?.start().await?;
        Ok(Self {
            process,
            directory: self.directory,
        })
    }

    /// Runs a client command of `skald` that must succeed.
    async fn skald(&self, args: &[&str]) -> anyhow::Result<Output> {
        let addr = format!("--addr={}", self.api().base());
        let mut all = args.to_vec();
        all.push(&addr);
        let output = run("skald", &all, &[]).await?;
        ensure!(output.code == 0, "{args:?}: {}", output.stderr);
        Ok(output)
    }

    /// Waits until so many lines are counted.
    async fn counted(&self, selector: &str, lines: usize) -> anyhow::Result<()> {
        let api = self.api();
        let counting = format!("sum(count_over_time({selector}[1h]))");
        let waited = wait_for("all lines", Duration::from_secs(60), || async {
            let counted = api.instant(&counting, now_ns()).await.ok()?;
            (counted >= lines as f64).then_some(counted)
        })
        .await;
        let Ok(last) = waited else {
            let last = api.instant(&counting, now_ns()).await?;
            bail!("{last} of {lines} lines\n{}", self.process.output());
        };
        ensure!(
            last == lines as f64,
            "{last} lines counted, {lines} written"
        );
        Ok(())
    }

    /// Checks that exactly these lines are found, and counted.
    async fn found(&self, selector: &str, lines: &[String]) -> anyhow::Result<()> {
        self.counted(selector, lines.len()).await?;
        let args = ["query", selector, "--limit=0", "--output=raw", "--quiet"];
        let output = self.skald(&args).await?;
        let mut found: Vec<&str> = output.stdout.lines().collect();
        let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
        found.sort_unstable();
        expected.sort_unstable();
        ensure!(
            found == expected,
            "{} lines found, {} written",
            found.len(),
            expected.len()
        );
        Ok(())
    }
}

/// Appends lines to a file, which is made if it is not there.
fn append(path: &Path, lines: &[String]) -> anyhow::Result<()> {
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)?;
    let mut text = lines.join("\n");
    text.push('\n');
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// Kinds of lines that [`program_lines`] gives in turn.
const KINDS: usize = 6;

/// Lines as programs write them, of several kinds, each with its number.
fn program_lines(program: &str, count: usize) -> Vec<String> {
    let line = |number: usize| match number % KINDS {
        0 => {
            format!(r#"{{"level":"info","program":"{program}","number":{number},"msg":"started"}}"#)
        }
        1 => format!(
            r#"level=warn program={program} number={number} msg="slow \"query\"" took=1.5s"#
        ),
        2 => format!("Jan 15 00:00:01 host {program}[{number}]: \u{4e16}\u{754c} caf\u{e9}"),
        3 => format!("\u{1b}[31mERROR\u{1b}[0m {program} {number}\ttab  spaces   "),
        4 => format!("  indented {program} {number}: {}", "long ".repeat(200)),
        _ => format!(
            r#"10.0.0.{} - - "GET /{program}/{number} HTTP/1.1" 200"#,
            number % 250
        ),
    };
    (0..count).map(line).collect()
}

/// A minute ago and in a second, as flags.
fn last_minutes() -> [String; 2] {
    let now_ns = now_ns();
    [
        format!("--from={}", now_ns - 600 * SECOND_NS),
        format!("--to={}", now_ns + SECOND_NS),
    ]
}
