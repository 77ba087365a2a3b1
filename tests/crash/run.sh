#!/usr/bin/env bash
# Fifty times `kill -9` of a server under load: nothing acknowledged may be lost.
set -euo pipefail
cd "$(dirname "$0")/../.."

SUITE_CRASH_KILLS=50 cargo test --workspace --test crash -- --nocapture
