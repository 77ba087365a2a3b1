#!/usr/bin/env python3
"""The registry and Debian's docker-registry, measured in one run on one machine.

    python3 tests/registry/bench.py [--quick]

Wants Debian's docker-registry and wrk; says so and measures only ours without the first. Builds the
registry for release unless REGISTRY_BINARY names one. Nothing but loopback is used. On a machine
that does other things too, trust CPU times and not rates.

The column `bare loop` is what pushes and pulls of a blob cost a process that does nothing else than
it must: receive, SHA-256, write and fdatasync; read and send. It goes through the page cache, as
pushes do with SKALD_REGISTRY_UPLOAD_DIRECT_BYTES_MAX=0; `bare loop, direct` writes past it, as large
blobs are. What a pull costs that finds nothing in the page cache is the `first pull`.
"""

import hashlib
import http.client
import json
import mmap
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

QUICK = "--quick" in sys.argv
BLOB_BYTES = (64 if QUICK else 512) << 20
IMAGES = 50 if QUICK else 300
TAGS = 5_000 if QUICK else 100_000
MANIFESTS = 5_000 if QUICK else 100_000
WRK_SECONDS = 3 if QUICK else 8
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TICK = os.sysconf("SC_CLK_TCK")


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A running registry and what it costs."""

    def __init__(self, name, home):
        self.name, self.home, self.port = name, home, free_port()
        os.makedirs(home, exist_ok=True)
        self.start()

    def command(self):
        if self.name == "skald":
            return [os.environ["REGISTRY_BINARY"], "--data-dir", f"{self.home}/data",
                    "--http-listen", "127.0.0.1:0", "--registry-listen", f"127.0.0.1:{self.port}"]
        config = f"{self.home}/config.yml"
        with open(config, "w") as f:
            f.write(f"version: 0.1\nlog: {{fields: {{service: registry}}}}\n"
                    f"storage: {{filesystem: {{rootdirectory: {self.home}/store}}, "
                    f"cache: {{blobdescriptor: inmemory}}, delete: {{enabled: true}}}}\n"
                    f"http: {{addr: '127.0.0.1:{self.port}'}}\n")
        return ["docker-registry", "serve", config]

    def start(self):
        log = open(f"{self.home}/output", "ab")
        begun = time.monotonic()
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        while True:
            try:
                if self.request("GET", "/v2/")[0] == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() - begun > 120:
                sys.exit(f"{self.name} does not start: see {self.home}/output")
            time.sleep(0.002)
        self.start_seconds = time.monotonic() - begun

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def request(self, method, path, body=None, headers=None, on=None):
        connection = on or self.connect()
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        if not on:
            connection.close()
        return answer.status, answer.headers, data

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self, what):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(rf"{what}:\s+(\d+) kB", f.read())[1]) / 1024

    def push_blob(self, repo, data, on=None, name=None):
        name = name or digest(data)
        status, headers, text = self.request("POST", f"/v2/{repo}/blobs/uploads/", on=on)
        assert status == 202, text
        location = headers["Location"]
        location = re.sub(r"^http://[^/]*", "", location)
        location += ("&" if "?" in location else "?") + "digest=" + name
        status, _, text = self.request(
            "PUT", location, data, {"Content-Type": "application/octet-stream"}, on)
        assert status == 201, text
        return {"digest": name, "size": len(data)}

    def push_image(self, repo, tag, seed, on=None):
        layer = self.push_blob(repo, f"layer {seed}".encode() * 100, on)
        config = self.push_blob(repo, b"{}", on)
        config["mediaType"] = "application/vnd.oci.image.config.v1+json"
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                               "config": config, "layers": [layer]}).encode()
        status, _, text = self.request(
            "PUT", f"/v2/{repo}/manifests/{tag}", manifest, {"Content-Type": MANIFEST}, on)
        assert status == 201, text
        return manifest


def parallel(count, work):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def blobs(server, put):
    data = os.urandom(1 << 20) * (BLOB_BYTES >> 20)
    name, gib = digest(data), len(data) / (1 << 30)
    before, begun = server.cpu(), time.monotonic()
    server.push_blob("bench/blob", data, name=name)
    put("push of a blob, CPU-s per GiB", (server.cpu() - before) / gib)
    put("push of a blob, MiB/s", (len(data) >> 20) / (time.monotonic() - begun))
    url = f"http://127.0.0.1:{server.port}/v2/bench/blob/blobs/{name}"
    for what, count in (("first pull", 1), ("pull", 2)):
        before, begun = server.cpu(), time.monotonic()
        for _ in range(count):
            subprocess.run(["curl", "-sfo", "/dev/null", url], check=True)
        put(f"{what} of a blob, CPU-s per GiB", (server.cpu() - before) / gib / count)
        put(f"{what} of a blob, MiB/s", count * (len(data) >> 20) / (time.monotonic() - begun))


def images(server, put):
    for writers in (1, 8):
        before, begun = server.cpu(), time.monotonic()

        def push(writer, writers=writers):
            on = server.connect()
            for n in range(IMAGES // writers):
                server.push_image("bench/small", f"v{n}", f"{writers} {writer} {n}", on)

        parallel(writers, push)
        count = IMAGES // writers * writers
        put(f"small images, {writers} at once, per second", count / (time.monotonic() - begun))
        put(f"small images, {writers} at once, CPU-ms each",
            1000 * (server.cpu() - before) / count)


def manifest_gets(server, put):
    server.push_image("bench/get", "v1", "get")
    for what in ("v1", digest(server.push_image("bench/get", "v1", "get"))):
        before = server.cpu()
        output = subprocess.run(
            ["wrk", "-t1", "-c8", f"-d{WRK_SECONDS}s", "--latency", "-H", f"Accept: {MANIFEST}",
             f"http://127.0.0.1:{server.port}/v2/bench/get/manifests/{what}"],
            check=True, capture_output=True, text=True).stdout
        count = int(re.search(r"(\d+) requests in", output)[1])
        assert "Non-2xx" not in output, output
        by = "tag" if what == "v1" else "digest"
        put(f"manifest GET by {by}, CPU-us", 1e6 * (server.cpu() - before) / count)
        put(f"manifest GET by {by}, per second",
            float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]))


def tag_list(server, put):
    """100,000 tags. docker-registry gets them as the files that it would have written."""
    manifest = server.push_image("bench/tags", "first", "tags")
    name = digest(manifest)
    names = [f"t{n:06}" for n in range(TAGS)]
    if server.name == "skald":
        on = server.connect()
        for at in range(0, TAGS, 50):
            query = "&".join(f"tag={tag}" for tag in names[at:at + 50])
            status, _, text = server.request(
                "PUT", f"/v2/bench/tags/manifests/{name}?{query}", manifest,
                {"Content-Type": MANIFEST}, on)
            assert status == 201, text
    else:
        tags = f"{server.home}/store/docker/registry/v2/repositories/bench/tags/_manifests/tags"
        for tag in names:
            os.makedirs(f"{tags}/{tag}/current")
            with open(f"{tags}/{tag}/current/link", "w") as f:
                f.write(name)
    on, took = server.connect(), []
    before = server.cpu()
    rounds = 3 if server.name != "skald" else 50
    for _ in range(rounds):
        begun = time.monotonic()
        status, _, text = server.request("GET", "/v2/bench/tags/tags/list?n=100&last=t050000", on=on)
        assert status == 200, text
        took.append(time.monotonic() - begun)
    put(f"tags/list?n=100 of {TAGS} tags, ms (best)", 1000 * min(took))
    put(f"tags/list?n=100 of {TAGS} tags, CPU-ms", 1000 * (server.cpu() - before) / rounds)


def many_manifests(server, put):
    """Start-up with many manifests. docker-registry looks at none of them when it starts."""
    if server.name == "skald":
        def push(writer):
            on = server.connect()
            for n in range(writer, MANIFESTS, 8):
                index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
                                    "annotations": {"n": str(n)}}).encode()
                status, _, text = server.request(
                    "PUT", f"/v2/bench/many/manifests/{digest(index)}", index,
                    {"Content-Type": INDEX}, on)
                assert status == 201, text

        before, begun = server.cpu(), time.monotonic()
        parallel(8, push)
        put("manifests, 8 at once, pushed per second", MANIFESTS / (time.monotonic() - begun))
        put("manifests, 8 at once, CPU-ms each", 1000 * (server.cpu() - before) / MANIFESTS)
    put("peak memory, MiB", server.memory("VmHWM"))
    server.stop()
    server.start()
    put(f"start-up with all of it, ms ({MANIFESTS} manifests here)", 1000 * server.start_seconds)
    put("memory after that start, MiB", server.memory("VmRSS"))


def bare_loop(home, direct=False):
    """What a blob costs who does only what must be done."""
    os.makedirs(home)
    gib, found = BLOB_BYTES / (1 << 30), {}
    for what in ("push",) if direct else ("push", "pull"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            child = os.fork()
            if child == 0:
                peer = socket.create_connection(listener.getsockname())
                piece = bytearray(os.urandom(1 << 20))
                for _ in range(BLOB_BYTES >> 20 if what == "push" else 0):
                    peer.sendall(piece)
                while what == "pull" and peer.recv_into(piece):
                    pass
                os._exit(0)
            peer, _ = listener.accept()
        # Mapped memory is aligned, as direct writes want it.
        buffer = mmap.mmap(-1, (1 << 20) if direct else (256 << 10))
        flags = os.O_RDWR | os.O_CREAT | (os.O_DIRECT if direct else 0)
        file = os.open(f"{home}/blob", flags)
        view, hasher = memoryview(buffer), hashlib.sha256()
        before = resource.getrusage(resource.RUSAGE_SELF)
        if what == "push":
            while count := peer.recv_into(buffer, len(buffer), socket.MSG_WAITALL):
                hasher.update(view[:count])
                os.write(file, view[:count])
            os.fdatasync(file)
        else:
            while count := os.readv(file, [buffer]):
                peer.sendall(view[:count])
        after = resource.getrusage(resource.RUSAGE_SELF)
        peer.close()
        os.close(file)
        os.waitpid(child, 0)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found[f"{what} of a blob, CPU-s per GiB"] = cpu / gib
    return found


def measure(name, home):
    found = {}

    def put(what, value):
        found[what] = value
        print(f"{name}: {what}: {value:.4g}", file=sys.stderr, flush=True)

    server = Server(name, home)
    try:
        put("start-up when new, ms", 1000 * server.start_seconds)
        time.sleep(1)
        put("idle memory, MiB", server.memory("VmRSS"))
        for part in (manifest_gets, images, blobs, tag_list, many_manifests):
            part(server, put)
    finally:
        server.stop()
    return found


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    if not shutil.which("wrk"):
        sys.exit("skipped: wrk is not installed")
    if "REGISTRY_BINARY" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--workspace", "--bin", "skald-registry"],
                       check=True)
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        os.environ["REGISTRY_BINARY"] = os.path.abspath(f"{target}/release/skald-registry")
    names = ["skald"]
    if shutil.which("docker-registry"):
        names.append("docker-registry")
    else:
        print("docker-registry is not installed: only ours is measured", file=sys.stderr)
    results = {}
    with tempfile.TemporaryDirectory() as home:
        for name in names:
            results[name] = measure(name, f"{home}/{name}")
        results["bare loop"] = bare_loop(f"{home}/bare")
        results["bare loop, direct"] = bare_loop(f"{home}/direct", direct=True)
    print(f"\n{'':55}" + "".join(f"{name:>18}" for name in results))
    for what in dict.fromkeys(what for found in results.values() for what in found):
        row = (f"{found[what]:18.4g}" if what in found else f"{'-':>18}"
               for found in results.values())
        print(f"{what:55}" + "".join(row))


main()
