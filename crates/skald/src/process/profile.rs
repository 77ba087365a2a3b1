//! `/debug/pprof` and `/debug/fgprof`: where the time of the process goes, by thread.
//!
//! Stacks are not sampled, and allocations and locks are not recorded: who asks for such a profile is
//! told so. A profile says for each name of threads how long they ran, and with
//! `fgprof` how long they waited, in the format of pprof, so that `go tool pprof` and what collects
//! profiles can read it: <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use prost::Message;
use serde::Deserialize;
use server::http::ApiError;

/// What is profiled unless something else is asked for.
const SECONDS_DEFAULT: u64 = 30;
/// The longest profile.
const SECONDS_MAX: u64 = 300;
/// What the kernel counts the time of threads in: USER_HZ, which is 100 wherever Linux runs.
const TICK_NS: i64 = 10_000_000;
const THREADS: &str = "/proc/self/task";

/// The routes, which every process has.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/debug/pprof/", get(index))
        .route("/debug/pprof/cmdline", get(command_line))
        .route("/debug/pprof/goroutine", get(list_threads))
        .route(
            "/debug/pprof/profile",
            get(|params| profile(params, Kind::Running)),
        )
        .route("/debug/pprof/symbol", get(symbols).post(symbols))
        .route("/debug/pprof/{name}", get(not_kept))
        .route("/debug/fgprof", get(|params| profile(params, Kind::Wall)))
}

async fn index() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>/debug/pprof/</title></head>\
         <body><ul><li><a href=\"cmdline\">cmdline</a></li>\
         <li><a href=\"goroutine\">goroutine</a> threads, and what each waits for</li>\
         <li><a href=\"profile?seconds=30\">profile</a> time that threads run, by name</li>\
         <li><a href=\"../fgprof?seconds=30\">fgprof</a> time that threads run or wait</li>\
         </ul></body></html>",
    )
}

/// The arguments, with a zero byte between two, as Go gives them.
async fn command_line() -> String {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    arguments.join("\0")
}

async fn list_threads() -> Result<String, ApiError> {
    let threads = threads().map_err(|error| unreadable(&error))?;
    let line = |thread: Thread| format!("{} {} {}\n", thread.id, thread.state, thread.name);
    Ok(threads.into_iter().map(line).collect())
}

/// Says that addresses cannot be looked up: profiles have names in them.
async fn symbols() -> &'static str {
    "num_symbols: 0\n"
}

async fn not_kept(Path(name): Path<String>) -> (StatusCode, String) {
    let what = match name.as_str() {
        "heap" | "allocs" => "allocations; process_resident_memory_bytes of /metrics is its memory",
        "block" | "mutex" => "waits for locks; /debug/fgprof says which threads wait",
        "threadcreate" => "who began threads; /debug/pprof/goroutine lists them",
        "trace" => "what happens in it; /debug/fgprof says which threads run and wait",
        _ => return (StatusCode::NOT_FOUND, "Unknown profile\n".to_owned()),
    };
    let text = format!("this process does not record {what}\n");
    (StatusCode::NOT_IMPLEMENTED, text)
}

fn unreadable(error: &std::io::Error) -> ApiError {
    ApiError::internal(format!("{THREADS}: {error}"))
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Running,
    /// Running or not.
    Wall,
}

#[derive(Deserialize)]
struct ProfileParams {
    seconds: Option<u64>,
}

async fn profile(Query(params): Query<ProfileParams>, kind: Kind) -> Result<Response, ApiError> {
    let seconds = params.seconds.unwrap_or(SECONDS_DEFAULT);
    if seconds == 0 || seconds > SECONDS_MAX {
        return Err(ApiError::invalid(format!(
            "seconds must be from 1 to {SECONDS_MAX}"
        )));
    }
    let begin = threads().map_err(|error| unreadable(&error))?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let end = threads().map_err(|error| unreadable(&error))?;
    let length_ns = seconds as i64 * 1_000_000_000;
    let body = Profile::of(&begin, &end, length_ns, kind).encode_to_vec();
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DISPOSITION, "attachment; filename=\"profile\""),
    ];
    Ok((headers, body).into_response())
}

/// A thread as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thread {
    id: u64,
    name: String,
    /// `R` running, `S` sleeping, `D` waiting for a disk.
    state: char,
    /// How long it ran.
    ran_ns: i64,
}

impl Thread {
    /// From `/proc/self/task/ID/stat`, which proc(5) describes. The name, in parentheses, may have
    /// spaces and parentheses itself.
    fn parse(stat: &str) -> Option<Self> {
        let (id, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        let mut ticks = fields.skip(10).map_while(|ticks| ticks.parse::<i64>().ok());
        let (user, system) = (ticks.next()?, ticks.next()?);
        Some(Self {
            id: id.parse().ok()?,
            name: name.to_owned(),
            state,
            ran_ns: (user + system).saturating_mul(TICK_NS),
        })
    }
}

fn threads() -> std::io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(THREADS)? {
        // A thread may end while it is looked at.
        let stat = std::fs::read_to_string(entry?.path().join("stat"));
        threads.extend(stat.ok().as_deref().and_then(Thread::parse));
    }
    Ok(threads)
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_ids: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
}

/// Texts are numbers of [`Profile::strings`], of which the first is empty.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_types: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    functions: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
    #[prost(int64, tag = "9")]
    time_ns: i64,
    #[prost(int64, tag = "10")]
    duration_ns: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

impl Profile {
    fn of(begin: &[Thread], end: &[Thread], length_ns: i64, kind: Kind) -> Self {
        let began: BTreeMap<u64, i64> = begin.iter().map(|t| (t.id, t.ran_ns)).collect();
        let mut ran: BTreeMap<&str, i64> = BTreeMap::new();
        let mut waited: BTreeMap<&str, i64> = BTreeMap::new();
        for thread in end {
            let before_ns = began.get(&thread.id).copied().unwrap_or(0);
            let ran_ns = (thread.ran_ns - before_ns).max(0);
            *ran.entry(&thread.name).or_default() += ran_ns;
            *waited.entry(&thread.name).or_default() += (length_ns - ran_ns).max(0);
        }
        let mut profile = Self::empty(length_ns, kind);
        for (name, ns) in ran {
            profile.add(&[name], ns);
        }
        if kind == Kind::Wall {
            for (name, ns) in waited {
                profile.add(&["waiting", name], ns);
            }
        }
        profile
    }

    fn empty(length_ns: i64, kind: Kind) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed();
        let mut profile = Self {
            strings: vec![String::new()],
            time_ns: now.map_or(0, |now| now.as_nanos() as i64),
            duration_ns: length_ns,
            period: TICK_NS,
            ..Self::default()
        };
        let time = match kind {
            Kind::Running => "cpu",
            Kind::Wall => "time",
        };
        let [samples, count, time, ns] =
            ["samples", "count", time, "nanoseconds"].map(|text| profile.string(text));
        let value = |kind, unit| ValueType { kind, unit };
        profile.sample_types = vec![value(samples, count), value(time, ns)];
        profile.period_type = Some(value(time, ns));
        profile
    }

    /// Adds a sample, unless it is nothing; the innermost frame first.
    fn add(&mut self, frames: &[&str], ns: i64) {
        if ns == 0 {
            return;
        }
        let location_ids = frames.iter().map(|frame| self.location(frame)).collect();
        self.samples.push(Sample {
            location_ids,
            values: vec![ns / TICK_NS, ns],
        });
    }

    fn location(&mut self, function: &str) -> u64 {
        let name = self.string(function);
        if let Some(known) = self.functions.iter().find(|known| known.name == name) {
            return known.id;
        }
        let id = self.functions.len() as u64 + 1;
        self.functions.push(Function {
            id,
            name,
            system_name: name,
        });
        self.locations.push(Location {
            id,
            lines: vec![Line { function_id: id }],
        });
        id
    }

    fn string(&mut self, text: &str) -> i64 {
        let known = self.strings.iter().position(|known| known == text);
        known.unwrap_or_else(|| {
            self.strings.push(text.to_owned());
            self.strings.len() - 1
        }) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_threads_may_have_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 64 1 0 0 0 12 30 0 0 20 0 9 0 100 5";
        let thread = Thread::parse(stat).unwrap();
        assert_eq!((thread.id, thread.name.as_str()), (7, "a (b) c"));
        assert_eq!((thread.state, thread.ran_ns), ('S', 42 * TICK_NS));
        assert_eq!(Thread::parse("7 (a) S 1"), None);
    }

    #[tokio::test]
    async fn profiles_that_are_not_kept_are_told_from_those_that_do_not_exist() {
        for name in ["heap", "allocs", "block", "mutex", "threadcreate", "trace"] {
            let (status, text) = not_kept(Path(name.to_owned())).await;
            assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{name}");
            assert!(text.starts_with("this process does not record "), "{text}");
        }
        let (status, _) = not_kept(Path("heaps".to_owned())).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(symbols().await, "num_symbols: 0\n");
    }

    #[test]
    fn time_is_counted_by_name() {
        let thread = |id, name: &str, ticks| Thread {
            id,
            name: name.to_owned(),
            state: 'S',
            ran_ns: ticks * TICK_NS,
        };
        let begin = [thread(1, "worker", 5), thread(2, "idle", 3)];
        let end = [
            thread(1, "worker", 15),
            thread(2, "idle", 3),
            thread(3, "worker", 2),
        ];
        let length_ns = 100 * TICK_NS;
        let running = Profile::of(&begin, &end, length_ns, Kind::Running);
        let values: Vec<_> = running.samples.iter().map(|s| s.values[0]).collect();
        assert_eq!(values, [12]);
        let name = running.functions[0].name;
        assert_eq!(running.strings[name as usize], "worker");
        let wall = Profile::of(&begin, &end, length_ns, Kind::Wall);
        let values: i64 = wall.samples.iter().map(|s| s.values[0]).sum();
        assert_eq!(values, 300);
        // "worker" is one location, alone and below "waiting".
        assert_eq!(wall.locations.len(), 3);
    }
}
