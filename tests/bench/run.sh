#!/usr/bin/env bash
# Reruns the comparison of ../shared/bench: `skald serve` alone, or beside peers in the same run.
#
#   bash tests/bench/run.sh [standard|streams] [PEERS.toml]
#
# `standard` is 1 GiB of lines in 200 streams, `streams` a quarter of it in 30,000. PEERS.toml has
# [[server]] sections as ../shared/bench/configs/compare.example.toml has them. Corpora, data and
# results (result.md, result.json, a log per server) lie in $SKALD_BENCH, by default target/bench.
# Skald is measured as it is configured by default, rates of tenants lifted, and a second time
# without the cache of results, as the peers' are off: the line of CPU, memory and disk is the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
root="$PWD"
shared="$(cd "${SKALD_SHARED:-../shared}/bench" && pwd)"
profile="${1:-standard}"
peers="${2:-}"
work="${SKALD_BENCH:-$root/target/bench}"
mkdir -p "$work"

case "$profile" in
    standard) size=(--size-mb 1024) ;;
    streams) size=(--size-mb 256 --streams 30000) ;;
    *) echo "no profile $profile: standard or streams" >&2; exit 64 ;;
esac

cargo build --release --package skald --bin skald
skald="${CARGO_TARGET_DIR:-$root/target}/release/skald"
CARGO_TARGET_DIR="$work/logbench" cargo build --release --manifest-path "$shared/Cargo.toml"
logbench="$work/logbench/release/logbench"

corpus="$work/corpus-$profile"
if [[ ! -e $corpus/meta.json ]]; then
    start="$(date -u -d '9 hours ago' +%Y-%m-%dT%H:00:00Z)"
    "$logbench" gen --out "$corpus" --loghub "$shared/loghub" --start "$start" "${size[@]}"
fi

out="$work/out-$profile"
rm -rf "$out" && mkdir -p "$out"
section() {
    cat <<TOML
[[server]]
name = "$1"
kind = "loki"
cmd = ["$skald", "serve", "--config", "$root/tests/bench/skald.yaml", "--data-dir", "{data_dir}"]
env = { SKALD_SERVER_HTTP_LISTEN = "127.0.0.1:$2", SKALD_SERVER_GRPC_LISTEN = "127.0.0.1:$3", SKALD_QUERIER_RESULT_CACHE = "$4" }
url = "http://127.0.0.1:$2"
data_dir = "$out/data/$1"
flush = "/flush"

TOML
}
{
    cat <<TOML
corpus = "$corpus"
suite = "$shared/configs/suite.toml"
out = "$out"
concurrency = 2
rounds = 4
settle_max_s = 60
reps_min = 3
reps_max = 15
budget_s = 20

TOML
    section skald 3191 9191 64MiB
    section skald-no-results 3192 9192 0
    [[ -z $peers ]] || cat "$peers"
} >"$out/compare.toml"

cd "$shared"
"$logbench" compare "$out/compare.toml"
"$logbench" phys --corpus "$corpus" --disk-dir "$out" | tee "$out/phys.md"
echo "see $out/result.md"
