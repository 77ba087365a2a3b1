#!/usr/bin/env bash
# Answers compared with those of the reference. The corpus lies beside the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ ! -d ${SKALD_SHARED:-../shared}/conformance ]]; then
    echo "skipped: no conformance corpus at ${SKALD_SHARED:-../shared}/conformance"
    exit 0
fi
bash tests/conformance/run.sh
# The same without what is carried out inside blocks.
SKALD_QUERIER_PUSHDOWN=false SKALD_INGESTER_PUSHDOWN=false bash tests/conformance/run.sh
