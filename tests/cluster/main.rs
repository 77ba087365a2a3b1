//! A cluster as it is run: one distributor, three ingesters that each hold every stream, one
//! querier and the agent, as separate processes with the files of `config/`.

mod agent;
mod failover;
mod growth;
