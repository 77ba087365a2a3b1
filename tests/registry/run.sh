#!/usr/bin/env bash
# Pushes and deletes the same layers for minutes while garbage collection runs all the time.
set -euo pipefail
cd "$(dirname "$0")/../.."
REGISTRY_IMAGES="${1:-1000}" cargo test --release --workspace --test registry no_image_ever -- --nocapture
