#!/usr/bin/env bash
# Real clients push, pull, copy, inspect, list and delete: skopeo, umoci, buildah and podman, in plain
# HTTP and in TLS, without and with a login.
#
#   bash tests/registry/clients.sh
#
# Wants Debian's skopeo, umoci, buildah, podman and openssl; says so and does nothing without them.
# Docker's client is tried if it is there.
# Variables SKALD_REGISTRY_... reach the registry, so that the same is tried on another store.
# REGISTRY_POSTGRES is the URL of a server, without a database, on which each registry gets one.
# REGISTRY_BINARY is a registry that was built already.
set -euo pipefail
cd "$(dirname "$0")/../.."

for client in skopeo umoci buildah podman openssl; do
  if ! command -v "$client" >/dev/null; then
    echo "skipped: $client is not installed"
    exit 0
  fi
done

if [ -z "${REGISTRY_BINARY:-}" ]; then
  cargo build --workspace --bin skald-registry
  REGISTRY_BINARY="${CARGO_TARGET_DIR:-target}/debug/skald-registry"
fi
tls="$PWD/tests/registry/tls"
home=$(mktemp -d)
registry=
stop() {
  [ -z "$registry" ] || { kill "$registry" && wait "$registry" || true; }
  registry=
}
trap 'stop; rm -rf "$home"' EXIT

# Nothing of the user's own configuration or storage is used or changed.
export HOME="$home" XDG_RUNTIME_DIR="$home/run" REGISTRY_AUTH_FILE="$home/auth.json"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
mkdir -p "$home/run" "$home/trust"
cp "$tls/ca.pem" "$home/trust/ca.crt"
store=(--root "$home/storage" --runroot "$home/run/storage" --storage-driver vfs)
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >"$home/policy.json"

# An image of two layers, and an artifact, each in an OCI layout.
layout="$home/layout"
umoci init --layout "$layout"
umoci new --image "$layout:base"
umoci unpack --rootless --image "$layout:base" "$home/bundle"
head -c 3000000 /dev/urandom >"$home/bundle/rootfs/random"
umoci repack --image "$layout:base" "$home/bundle"
echo two >"$home/bundle/rootfs/two"
umoci repack --refresh-bundle --image "$layout:v1" "$home/bundle"
umoci rm --image "$layout:base"
umoci gc --layout "$layout"

# refused COMMAND: fails if it works.
refused() {
  if "$@" >/dev/null 2>&1; then
    echo "this should have been refused: $*"
    exit 1
  fi
}

# start SCHEME AUTH: a registry, and what clients are told of it.
start() {
  local scheme=$1 auth=$2 env=()
  data="$home/data-$1-$2"
  [ "$scheme" = http ] || env=(SKALD_REGISTRY_TLS_CERT_FILE="$tls/cert.pem" SKALD_REGISTRY_TLS_KEY_FILE="$tls/key.pem")
  if [ -n "${REGISTRY_POSTGRES:-}" ]; then
    psql "$REGISTRY_POSTGRES/postgres" -qc "CREATE DATABASE clients_$$_${scheme}_$auth"
    env+=(SKALD_REGISTRY_DATABASE_URL="$REGISTRY_POSTGRES/clients_$$_${scheme}_$auth")
  fi
  # A store belongs to one database.
  [ -z "${SKALD_REGISTRY_STORAGE_BACKEND:-}" ] || env+=(SKALD_REGISTRY_STORAGE_PREFIX="clients-$$-$scheme-$auth")
  # Where there are accounts, a push makes no project unless that is allowed.
  : >"$data.out"
  env "${env[@]}" SKALD_REGISTRY_AUTH="$auth" SKALD_REGISTRY_PROJECTS_CREATE_ON_PUSH=always \
    "$REGISTRY_BINARY" --data-dir "$data" \
    --http-listen 127.0.0.1:0 --registry-listen 127.0.0.1:0 >"$data.out" 2>&1 &
  registry=$!
  at=
  for _ in $(seq 300); do
    at=$(sed -n 's/.*"registry":"\([0-9.:]*\)".*/\1/p' "$data.out")
    [ -z "$at" ] || break
    sleep 0.1
  done
  [ -n "$at" ] || { cat "$data.out"; exit 1; }
  case $scheme in
    http) src=(--src-tls-verify=false) dst=(--dest-tls-verify=false) one=(--tls-verify=false) ;;
    tls) src=(--src-cert-dir "$home/trust") dst=(--dest-cert-dir "$home/trust") one=(--cert-dir "$home/trust") ;;
  esac
  echo "{}" >"$REGISTRY_AUTH_FILE"
  if [ "$auth" = local ]; then
    refused skopeo inspect "${one[@]}" "docker://$at/team/app:v1"
    skopeo login "${one[@]}" -u admin --password-stdin "$at" <"$data/registry/admin-password"
  fi
}

skopeo_copies_lists_and_deletes() {
  local back="$home/back-$1" digest
  skopeo copy -q --policy "$home/policy.json" "${dst[@]}" "oci:$layout:v1" "docker://$at/team/app:v1"
  skopeo copy -q --policy "$home/policy.json" "${src[@]}" "${dst[@]}" "docker://$at/team/app:v1" "docker://$at/other/app:copy"
  skopeo copy -q --policy "$home/policy.json" "${src[@]}" "docker://$at/other/app:copy" "oci:$back:v1"
  # Layout to registry to layout: not a byte is another.
  diff -r "$layout/blobs" "$back/blobs"
  digest=$(skopeo inspect "${one[@]}" --format '{{.Digest}}' "docker://$at/team/app:v1")
  [ -f "$layout/blobs/sha256/${digest#sha256:}" ]
  umoci unpack --rootless --image "$back:v1" "$home/unpacked-$1"
  diff -r "$home/bundle/rootfs" "$home/unpacked-$1/rootfs"
  skopeo list-tags "${one[@]}" "docker://$at/other/app" | grep -q '"copy"'
  skopeo delete "${one[@]}" "docker://$at/other/app:copy"
  refused skopeo inspect "${one[@]}" "docker://$at/other/app:copy"
}

buildah_and_podman() {
  local container image="$at/team/built:1"
  container=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" copy "$container" "$home/bundle/rootfs/two" /two >/dev/null
  buildah "${store[@]}" commit -q "$container" "$image" >/dev/null
  buildah "${store[@]}" rm "$container" >/dev/null
  buildah "${store[@]}" push -q "${one[@]}" "$image"
  buildah "${store[@]}" rmi -a -f >/dev/null
  podman "${store[@]}" pull -q "${one[@]}" "$image" >/dev/null
  podman "${store[@]}" tag "$image" "$at/team/built:2"
  podman "${store[@]}" push -q "${one[@]}" "$at/team/built:2"
  skopeo list-tags "${one[@]}" "docker://$at/team/built" | grep -q '"2"'
  podman "${store[@]}" rmi -a -f >/dev/null
  buildah "${store[@]}" pull -q "${one[@]}" "$at/team/built:2" >/dev/null
  buildah "${store[@]}" rmi -a -f >/dev/null
}

# Docker's client talks to registries by itself for lists of images; it shares with its server how it
# logs in. Asks twice: without a name for what is public, and after a login.
docker_lists() {
  export DOCKER_CONFIG="$home/docker-$1"
  mkdir -p "$DOCKER_CONFIG"
  if [ "$2" = local ]; then
    refused docker manifest inspect --insecure "$at/team/app:v1"
    curl -fsS -u "admin:$(<"$data/registry/admin-password")" -X PUT -H 'content-type: application/json' \
      -d '{"metadata":{"public":"true"}}' "http://$at/api/v2.0/projects/team"
    docker manifest inspect --insecure "$at/team/app:v1" >/dev/null
    docker login -u admin --password-stdin "$at" <"$data/registry/admin-password" >/dev/null 2>&1
  fi
  docker manifest create --insecure "$at/team/list:1" "$at/team/app:v1" >/dev/null
  docker manifest push --insecure --purge "$at/team/list:1" >/dev/null
  docker manifest inspect --insecure "$at/team/list:1" | grep -q '"manifests"'
}

for scheme in http tls; do
  for auth in none local; do
    start "$scheme" "$auth"
    skopeo_copies_lists_and_deletes "$scheme-$auth"
    echo "ok: skopeo and umoci, $scheme, auth: $auth"
    buildah_and_podman
    echo "ok: buildah and podman, $scheme, auth: $auth"
    if [ "$scheme" = http ] && command -v docker >/dev/null; then
      docker_lists "$scheme-$auth" "$auth"
      echo "ok: docker, $scheme, auth: $auth"
    fi
    stop
  done
done
