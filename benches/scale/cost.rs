//! What a process and the API server have spent.

use std::fs;

use anyhow::{Context as _, Result};
use tidegate_testbed::world::{Daemon, World};

use crate::shop;

/// The kernel counts processor time in hundredths of a second.
const TICK_MS: f64 = 10.0;

/// What a process has spent so far.
pub(crate) struct Cost {
    /// Processor time of all its threads.
    pub(crate) cpu_ms: f64,
    /// Resident memory now.
    pub(crate) memory_mb: f64,
    /// Resident memory at its most.
    pub(crate) most_memory_mb: f64,
}

impl Cost {
    pub(crate) fn of(process: &Daemon) -> Result<Self> {
        let folder = format!("/proc/{}", process.pid());
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let megabytes = |field: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|line| line.split_whitespace().next());
            let kibibytes: f64 = number.with_context(|| format!("no {field}"))?.parse()?;
            Ok(kibibytes * 1.024 / 1000.0)
        };
        let stat = fs::read_to_string(format!("{folder}/stat"))?;
        // The name is in parentheses and may hold anything; the times are the 12th and 13th after.
        let (_, after) = stat.rsplit_once(')').context("no name")?;
        let times = after.split_whitespace().skip(11).take(2);
        let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(Self {
            cpu_ms: ticks * TICK_MS,
            memory_mb: megabytes("VmRSS:")?,
            most_memory_mb: megabytes("VmHWM:")?,
        })
    }
}

/// Requests of all clients that the API server has answered. Watches are left out, which last, and
/// leases, which are renewed whatever happens.
pub(crate) async fn requests(world: &World) -> Result<f64> {
    let metrics = shop::kubectl(world, &["get", "--raw", "/metrics"]).await?;
    let counted = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && !line.contains("verb=\"WATCH\"")
            && !line.contains("resource=\"leases\"")
    });
    let numbers = counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(numbers.sum())
}
