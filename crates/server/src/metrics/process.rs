//! What Prometheus clients say about their process, read from `/proc` at each scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Where a scrape finds what it needs. On systems without `/proc` nothing is reported.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    ticks_per_second: f64,
    page_bytes: f64,
    boot_time_seconds: f64,
}

/// The fields of `/proc/self/stat` that are reported
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot_time = stat.lines().find_map(|line| line.strip_prefix("btime "));
        Self {
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_bytes: rustix::param::page_size() as f64,
            boot_time_seconds: boot_time.and_then(|text| text.parse().ok()).unwrap_or(0.0),
        }
    }

    fn encode_stat(&self, encoder: &mut DescriptorEncoder<'_>, stat: &Stat) -> fmt::Result {
        let seconds = ConstCounter::new(stat.cpu_ticks / self.ticks_per_second);
        let metric = encoder.encode_descriptor(
            "process_cpu_seconds",
            "Processor time used, user and system",
            None,
            seconds.metric_type(),
        )?;
        seconds.encode(metric)?;
        let start = self.boot_time_seconds + stat.start_ticks / self.ticks_per_second;
        let resident = stat.resident_pages * self.page_bytes;
        gauge(
            encoder,
            "process_start_time_seconds",
            "When the process began, Unix time",
            start,
        )?;
        gauge(
            encoder,
            "process_resident_memory_bytes",
            "Memory in use",
            resident,
        )?;
        gauge(
            encoder,
            "process_virtual_memory_bytes",
            "Address space in use",
            stat.virtual_bytes,
        )?;
        gauge(
            encoder,
            "process_threads",
            "Threads of the system",
            stat.threads,
        )
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = std::fs::read_to_string("/proc/self/stat").ok();
        if let Some(stat) = stat.as_deref().and_then(parse_stat) {
            self.encode_stat(&mut encoder, &stat)?;
        }
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            // The directory that is being read is one of them.
            let open = fds.count().saturating_sub(1) as f64;
            gauge(
                &mut encoder,
                "process_open_fds",
                "File descriptors in use",
                open,
            )?;
        }
        if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            gauge(
                &mut encoder,
                "process_max_fds",
                "File descriptors allowed",
                max as f64,
            )?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name of the program may hold spaces and parentheses, but the last one closes it. Fields
    // are numbered from there: the state, field 3 of the manual, is the first.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 11 22 0 0 20 0 5 0 999 4096 3 18446";
        let stat = Stat {
            cpu_ticks: 33.0,
            threads: 5.0,
            start_ticks: 999.0,
            virtual_bytes: 4096.0,
            resident_pages: 3.0,
        };
        assert_eq!(parse_stat(text), Some(stat));
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }
}
