#!/usr/bin/env bash
# Runs the fuzz targets one after the other, each for some time. What makes one fail is kept below
# tests/fuzz/artifacts, and has to become a test where the fault is.
#
#   bash tests/fuzz/run.sh [SECONDS [TARGET...]]
#
# Needs `cargo install cargo-fuzz`. Builds into target/fuzz, apart from everything else.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds="${1:-600}"
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
    for target in tests/fuzz/targets/*.rs; do
        targets+=("$(basename "$target" .rs)")
    done
fi

# The instrumentation is not part of the stable toolchain's promises; that is no matter here.
export RUSTC_BOOTSTRAP=1
built="${CARGO_TARGET_DIR:-target}/fuzz"
unset CARGO_TARGET_DIR
# The versions that are shipped.
cp Cargo.lock tests/fuzz/Cargo.lock

failed=()
for target in "${targets[@]}"; do
    corpus="tests/fuzz/corpus/$target"
    mkdir -p "$corpus"
    echo "== $target"
    features=()
    needed="$(grep -A1 "^name = \"$target\"" tests/fuzz/Cargo.toml |
        sed -n 's/^required-features = \["\(.*\)"\]$/\1/p')"
    if [[ -n "$needed" ]]; then
        features=(--features "$needed")
    fi
    cargo fuzz run "${features[@]}" --fuzz-dir tests/fuzz --target-dir "$built" "$target" \
        "$corpus" "tests/fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3072 -print_final_stats=1 ||
        failed+=("$target")
done
if ((${#failed[@]} > 0)); then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
