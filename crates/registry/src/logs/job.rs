//! The line of work that nobody waits for: garbage collection, retention, and copying blobs of other
//! registries. Its keys are documented
//! in the README of `deploy/grafana`.

use std::time::Instant;

use serde::Serialize;

use super::{Logs, new_id};
use crate::digest::Digest;
use crate::error::Error;
use crate::meta::Trigger;
use crate::name::RepoName;

/// A piece of work under way.
#[derive(Debug)]
pub(crate) struct Job {
    /// `gc`, `job` or `proxy`.
    kind: &'static str,
    /// What of it.
    policy: &'static str,
    /// The project that it is for, if it is for one.
    project: Option<String>,
    /// The repository and the digest of a blob that it is for.
    blob: Option<(String, String)>,
    /// The request that asked for it, if one did.
    rid: Option<String>,
    /// Whether somebody said that it is done at this time.
    is_scheduled: bool,
    id: String,
    /// Which try it is since it worked last.
    attempt: u32,
    begun: Instant,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Done {
    pub(crate) dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) links: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<u64>,
    /// Objects of the store that no row named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orphans: Option<u64>,
    /// Uploads in parts that no row named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uploads: Option<u64>,
    /// What was not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) findings: Option<u64>,
    /// Bytes of the blobs that lost their rows, or of the one that was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Bytes that left the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) freed_bytes: Option<u64>,
}

impl Done {
    /// Whether nothing came of it.
    pub(crate) fn is_nothing(&self) -> bool {
        let Self {
            dry_run: _,
            manifests,
            links,
            blobs,
            tags,
            orphans,
            uploads,
            findings,
            bytes,
            freed_bytes,
        } = self;
        let counts = [
            manifests,
            links,
            blobs,
            tags,
            orphans,
            uploads,
            findings,
            bytes,
            freed_bytes,
        ];
        counts.iter().all(|count| count.unwrap_or(0) == 0)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    ts: String,
    level: &'static str,
    kind: &'static str,
    job_id: &'a str,
    attempt: u32,
    policy: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(flatten)]
    done: Option<&'a Done>,
    dur_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<&'a str>,
    node: &'a str,
}

impl Job {
    /// Work of garbage collection.
    pub(crate) fn gc(policy: &'static str) -> Self {
        Self::begin("gc", policy)
    }

    /// A run of retention for a project.
    pub(crate) fn retention(project: &str) -> Self {
        Self {
            project: Some(project.to_owned()),
            ..Self::begin("job", "retention")
        }
    }

    /// Copying a blob of another registry.
    pub(crate) fn proxy(repo: &RepoName, digest: &Digest) -> Self {
        Self {
            project: Some(repo.project().to_owned()),
            blob: Some((repo.as_str().to_owned(), digest.as_str().to_owned())),
            ..Self::begin("proxy", "fetch")
        }
    }

    fn begin(kind: &'static str, policy: &'static str) -> Self {
        Self {
            kind,
            policy,
            project: None,
            blob: None,
            rid: None,
            is_scheduled: false,
            id: new_id(),
            attempt: 1,
            begun: Instant::now(),
        }
    }

    /// The same, asked for by a request.
    pub(crate) fn asked_by(mut self, rid: &str) -> Self {
        self.rid = Some(rid.to_owned());
        self
    }

    /// The same, at a time that somebody said.
    pub(crate) fn scheduled(mut self) -> Self {
        self.is_scheduled = true;
        self
    }

    /// Why it is done.
    pub(crate) fn trigger(&self) -> Trigger {
        match (&self.rid, self.is_scheduled) {
            (Some(_), _) => Trigger::Asked,
            (None, true) => Trigger::Scheduled,
            (None, false) => Trigger::Own,
        }
    }

    /// Milliseconds since it began.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The same, after others failed.
    pub(crate) fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    fn line(&self, outcome: Result<&Done, &Error>, node: &str) -> String {
        let line = Line {
            v: 1,
            ts: format!("{:.3}", jiff::Timestamp::now()),
            level: match outcome {
                Ok(_) => "info",
                Err(_) => "error",
            },
            kind: self.kind,
            job_id: &self.id,
            attempt: self.attempt,
            policy: self.policy,
            state: match outcome {
                Ok(_) => "done",
                Err(_) => "failed",
            },
            rid: self.rid.as_deref(),
            project: self.project.as_deref(),
            repo: self.blob.as_ref().map(|(repo, _)| repo.as_str()),
            digest: self.blob.as_ref().map(|(_, digest)| digest.as_str()),
            done: outcome.ok(),
            dur_ms: self.begun.elapsed().as_micros() as f64 / 1000.0,
            err: outcome.err().map(|error| error.message.as_str()),
            node,
        };
        // Strings and numbers can always be written.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Logs {
    /// Tells what came of a piece of work; gives the line.
    pub(crate) fn job(&self, job: &Job, outcome: Result<&Done, &Error>) -> String {
        let line = job.line(outcome, &self.node);
        self.job.push(line.as_bytes());
        line
    }
}
