#!/usr/bin/env bash
# The agent under a hundred kills.
set -euo pipefail
bash "$(dirname "$0")/../../tests/agent/run.sh"
