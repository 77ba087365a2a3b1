//! The agent as a process of its own before a server of its own: killed at any moment, it loses no
//! line, and the server has none twice.

mod answers;
mod cluster;
mod kills;
mod pods;
mod repeats;
mod sink;
mod site;
mod tls;
mod torture;
mod usage;
