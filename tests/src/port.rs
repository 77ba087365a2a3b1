//! Ports for processes that must be told theirs before they start.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::Context;
use rand::RngExt;

/// Below what the system gives to clients and to listeners on port 0, so that nobody takes a port
/// between its choice here and its use there by chance.
const PORTS: std::ops::Range<u16> = 15_000..30_000;
/// How many are tried.
const TRIES: usize = 100;

/// A port of 127.0.0.1 that was free a moment ago, for TCP and UDP.
///
/// # Errors
/// If none is found.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    let mut random = rand::rng();
    let free = |addr: &SocketAddr| TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok();
    (0..TRIES)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], random.random_range(PORTS))))
        .find(free)
        .context("no free port")
}
