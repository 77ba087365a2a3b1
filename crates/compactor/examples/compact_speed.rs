//! Compacts a data directory as it lies, and says what CPU time that took. Take a copy: what was
//! flushed is replaced by what comes out.
//!
//! `cargo run --release -p compactor --example compact_speed -- DATA_DIR`

use std::error::Error;
use std::path::PathBuf;

use compactor::{Compactor, Config, Metrics};
use model::Limits;
use model::units::DurationNs;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use server::Overrides;
use storage::{Catalog, Clock, StorageConfig, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let data_dir: PathBuf = std::env::args_os().nth(1).ok_or("which directory?")?.into();
    let storage = StorageConfig::default();
    let store = Store::open(&storage, &data_dir, storage::Metrics::unregistered())?;
    let mut registry = Registry::default();
    let config = Config {
        min_age: DurationNs(0),
        ..Config::default()
    };
    let compactor = Compactor::new(
        config,
        Catalog::new(store, &storage, Clock::system()),
        Overrides::new(Limits::default()),
        "compact_speed".to_owned(),
        Metrics::register(&mut registry),
    );
    let before = cpu_seconds()?;
    compactor.run_once().await;
    let seconds = cpu_seconds()? - before;
    let mut metrics = String::new();
    encode(&mut metrics, &registry)?;
    let counts = metrics.lines().filter(|line| line.contains("_total"));
    counts.for_each(|line| println!("{line}"));
    println!("{seconds:.2} CPU seconds");
    Ok(())
}

/// Of all threads, in user and kernel mode; the kernel counts in hundredths.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<u64>, _> = ticks.map(str::parse).collect();
    Ok(ticks?.iter().sum::<u64>() as f64 / 100.0)
}
