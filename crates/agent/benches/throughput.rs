//! How many lines a second of CPU brings from a file to a server: lines as a container runtime
//! writes them, of an access log, logfmt and JSON, through the `cri` stage.
//!
//! `cargo bench -p agent --bench throughput` reads 500 MB; with `-- 50` after it, less.
//! The server is a process of its own, so that only the agent's time is counted, and counts the
//! lines that it takes.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent::{Agent, AgentMetrics, Config, Deps};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use prost::Message;
use proto::logproto::PushRequest;
use tokio_util::sync::CancellationToken;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What tells the process of the server from that of the agent.
const AS_SERVER: &str = "--as-server";
/// What the kernel counts CPU time in.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a push request.
const BODY_MAX: usize = 64 << 20;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    if std::env::args().any(|arg| arg == AS_SERVER) {
        runtime.block_on(serve())
    } else {
        runtime.block_on(measure())
    }
}

/// Takes pushes and counts their lines and bytes.
async fn serve() -> Outcome<()> {
    let (lines, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let shown = (lines.clone(), bytes.clone());
    let take = move |body: Bytes| async move {
        bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        let message = snap::raw::Decoder::new().decompress_vec(&body);
        let request = message
            .ok()
            .and_then(|bytes| PushRequest::decode(&*bytes).ok());
        let streams = request.map(|request| request.streams).unwrap_or_default();
        let count: usize = streams.iter().map(|stream| stream.entries.len()).sum();
        lines.fetch_add(count as u64, Ordering::Relaxed);
        http::StatusCode::NO_CONTENT
    };
    let count = move || async move {
        let [lines, bytes] = [&shown.0, &shown.1].map(|count| count.load(Ordering::Relaxed));
        format!("{lines} {bytes}")
    };
    let router = Router::new()
        .route("/loki/api/v1/push", post(take))
        .route("/count", get(count))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

async fn measure() -> Outcome<()> {
    server::install_crypto_provider();
    let size_mb = std::env::args().find_map(|arg| arg.parse().ok());
    let size_mb: u64 = size_mb.unwrap_or(500);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("0.log");
    let lines = write(&file, size_mb << 20)?;
    let mut sink = Command::new(std::env::current_exe()?)
        .arg(AS_SERVER)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut addr = String::new();
    let out = sink.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut addr)?;
    let outcome = collect(directory.path(), addr.trim(), lines).await;
    sink.kill()?;
    sink.wait()?;
    outcome
}

/// Lets an agent read the file and tells what that took.
async fn collect(directory: &Path, addr: &str, lines: u64) -> Outcome<()> {
    let text = format!(
        "positions: {{filename: '{root}/positions.yaml'}}
clients: [{{url: 'http://{addr}/loki/api/v1/push'}}]
scrape_configs:
  - job_name: pods
    static_configs: [{{labels: {{job: pods, __path__: '{root}/*.log'}}}}]
    pipeline_stages: [{{cri: {{}}}}]
",
        root = directory.display(),
    );
    let config: Config = serde_yaml::from_str(&text)?;
    let (began, cpu_before) = (Instant::now(), cpu_seconds()?);
    let deps = Deps {
        metrics: AgentMetrics::register(&mut Registry::default()),
        hostname: String::new(),
        since: std::time::SystemTime::now(),
        environment: server::Environment::default(),
        deliver: None,
    };
    let agent = Agent::start(config, deps)?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(agent.run(stop.clone()));
    let (taken, wire) = loop {
        let text = reqwest::get(format!("http://{addr}/count"))
            .await?
            .text()
            .await?;
        let (taken, wire) = text.split_once(' ').ok_or("no counts")?;
        let counts: (u64, u64) = (taken.parse()?, wire.parse()?);
        if counts.0 >= lines {
            break counts;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
    stop.cancel();
    running.await?;
    let bytes = std::fs::metadata(directory.join("0.log"))?.len() as f64;
    println!("{taken} of {lines} lines, {:.0} MB", bytes / 1e6);
    println!(
        "wall              {wall:.1} s, {:.0} lines/s",
        lines as f64 / wall
    );
    println!("CPU               {cpu:.1} s");
    println!("lines per CPU s   {:.0}", lines as f64 / cpu);
    println!("MB per CPU s      {:.1}", bytes / 1e6 / cpu);
    println!("peak memory       {} kB", peak_memory_kb()?);
    println!("wire              {:.0} MB", wire as f64 / 1e6);
    Ok(())
}

/// Lines of three kinds until the file has so many bytes; how many.
fn write(path: &Path, size: u64) -> Outcome<u64> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let (mut written, mut number) = (0, 0_u64);
    while written < size {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = match number % 3 {
            0 => format!(
                "10.0.{}.{} - - [15/Jan/2026:00:00:00 +0000] \"GET /api/v1/items/{} HTTP/1.1\" 200 \
                 {} \"https://shop.example/cart\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
                id % 250,
                (id >> 8) % 250,
                id >> 40,
                (id >> 16) % 90_000,
            ),
            1 => format!(
                "level=info ts=2026-01-15T00:00:00.000Z caller=handler.go:{} msg=\"request done\" \
                 trace_id={id:016x} method=GET path=/cart status=200 duration={}ms bytes={}",
                id % 900,
                (id >> 8) % 3000,
                (id >> 16) % 90_000,
            ),
            _ => format!(
                "{{\"level\":\"warn\",\"time\":\"2026-01-15T00:00:00.000Z\",\"logger\":\"cart\",\
                 \"message\":\"slow answer\",\"trace\":\"{id:016x}\",\"ms\":{},\"user\":{}}}",
                (id >> 8) % 3000,
                id >> 44,
            ),
        };
        let (second, nano) = (number / 100_000 % 60, number % 100_000 * 10_000);
        let line = format!("2026-01-15T00:00:{second:02}.{nano:09}Z stdout F {text}\n");
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
        number += 1;
    }
    out.flush()?;
    Ok(number)
}

/// Seconds that all threads of this process have had a CPU, also those that have ended.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program may hold anything but is in brackets.
    let (_, rest) = stat.rsplit_once(") ").ok_or("no stat")?;
    let ticks: Vec<u64> = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

fn peak_memory_kb() -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line
        .unwrap_or_default()
        .trim()
        .trim_end_matches(" kB")
        .to_owned())
}
