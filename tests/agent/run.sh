#!/usr/bin/env bash
# A hundred times `kill -9` of the agent: no line may be lost, and none be twice in the server.
set -euo pipefail
cd "$(dirname "$0")/../.."

SUITE_AGENT_KILLS=100 cargo test --workspace --test agent -- --nocapture kills
