#!/usr/bin/env bash
# The conformance corpus against `skald serve`: every request from memory, then, after /flush and a
# restart, all that push nothing. Fails when fewer answers are right than tests/conformance/score
# says.
#
#   bash tests/conformance/run.sh
#
# SKALD_SHARED   where `conformance/` is; ../shared beside the repository by default
# SKALD_BINARY   the binary to ask; a release build by default
# SKALD_OUT      where answers and failing cases are kept; a temporary directory by default
set -euo pipefail
cd "$(dirname "$0")/../.."
export TZ=UTC

corpus="${SKALD_SHARED:-../shared}/conformance"
if [[ ! -d $corpus ]]; then
    echo "no corpus at $corpus: set SKALD_SHARED" >&2
    exit 2
fi

binary="${SKALD_BINARY:-}"
if [[ -z $binary ]]; then
    cargo build --release --package skald --bin skald
    binary="${CARGO_TARGET_DIR:-target}/release/skald"
fi

work=$(mktemp -d)
out="${SKALD_OUT:-$work}"
mkdir -p "$out"
server=""
stop() {
    if [[ -n $server ]]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || true
        server=""
    fi
}
trap 'stop; rm -rf "$work"' EXIT

# Starts the server on ports that the system chooses; sets $url.
start() {
    # Emptied first: the address is read from it.
    : >"$work/serve.out"
    env -u SKALD_OUT -u SKALD_SHARED -u SKALD_BINARY "$binary" serve \
        --config tests/conformance/skald.yaml --data-dir "$work/data" \
        --http-listen 127.0.0.1:0 --grpc-listen 127.0.0.1:0 --registry-listen 127.0.0.1:0 \
        >"$work/serve.out" 2>"$out/serve.log" &
    server=$!
    local tries
    for tries in $(seq 600); do
        url=$(sed -n 's/^ *HTTP *//p' "$work/serve.out")
        if [[ -n $url ]] && curl --silent --fail --max-time 2 --output /dev/null "$url/ready"; then
            return
        fi
        if ! kill -0 "$server" 2>/dev/null; then
            echo "skald ended:" >&2
            cat "$work/serve.out" "$out/serve.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "skald is not ready after 60 s" >&2
    exit 1
}

# Compares answers with the recorded ones and leaves how many are right in $passed.
compare() {
    local golden=$1 answers=$2 name=$3
    python3 "$corpus/compare.py" "$golden" "$answers" --ids "$out/failing-$name.txt" \
        >"$out/$name.txt" || true
    cat "$out/$name.txt"
    passed=$(awk '$1 == "TOTAL" { print $3 }' "$out/$name.txt")
}

# Fails below the recorded number.
judge() {
    local name=$1 least
    least=$(awk -v name="$name" '$1 == name { print $2 }' tests/conformance/score)
    echo "== $name: ${passed:-0} right, at least $least wanted"
    if ((${passed:-0} < least)); then
        failed=1
    elif ((passed > least)); then
        echo "   tests/conformance/score can say $passed"
    fi
}

failed=0
start
python3 "$corpus/run.py" --base-url "$url" --out "$out/memory.json"
compare "$corpus/public/golden" "$out/memory.json" memory
judge memory

curl --silent --show-error --fail --request POST "$url/flush"
stop
start
python3 "$corpus/run.py" --base-url "$url" --out "$out/stored.json" --no-push --no-writes
python3 tests/conformance/subset.py "$corpus/public/golden" "$out/stored.json" "$work/golden"
compare "$work/golden" "$out/stored.json" stored
judge stored
exit "$failed"
