#!/usr/bin/env bash
# The registry's suite with its facts in PostgreSQL instead of SQLite. Wants Debian's postgresql, and
# not to be root (or to become its user).
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
home=$(mktemp -d)
as=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$home"
  as=(runuser -u postgres --)
fi
trap '"${as[@]}" "$bin/pg_ctl" -D "$home/data" -m immediate stop >/dev/null; rm -rf "$home"' EXIT
"${as[@]}" "$bin/initdb" -D "$home/data" -U skald -A trust >/dev/null
port=$((15000 + RANDOM % 15000))
"${as[@]}" "$bin/pg_ctl" -D "$home/data" -l "$home/log" -w \
  -o "-p $port -c listen_addresses=127.0.0.1 -k $home -c max_connections=500" start >/dev/null
REGISTRY_POSTGRES="postgres://skald@127.0.0.1:$port" cargo test --workspace --test registry "$@"
