"""SeaweedFS as a real S3 server: it checks signatures, checksums and conditions. ``make parts`` has the program.

with seaweed(program("weed", "make parts"), tmp_path) as server:
    server.bucket("hive")
    open_store(server.url("hive/prefix"), secret=server.secret)
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

START_S = 60.0
KEY_ID, SECRET_KEY = "SKEPTESTKEY", "the secret key of tests"


@dataclass
class Seaweed:
    """A server on free ports of the loopback."""

    program: Path
    place: Path
    volumes: int = 40
    volume_mb: int = 64
    """The server holds ``volumes`` files of this size and is full then."""
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def secret(self) -> bytes:
        """The keys, as a store's secret."""
        return f"{KEY_ID}:{SECRET_KEY}".encode()

    def url(self, place: str) -> str:
        """A store's URL for ``bucket/prefix``."""
        return f"s3://{place}?endpoint={self.endpoint}"

    def start(self) -> None:
        """Start it (again), on the ports that it had."""
        if not self.ports:
            self.ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
        config = self.place / "s3.json"
        right = {"accessKey": KEY_ID, "secretKey": SECRET_KEY}
        config.write_text(json.dumps({"identities": [{"name": "t", "credentials": [right], "actions": ["Admin"]}]}))
        (self.place / "data").mkdir(exist_ok=True)
        with (self.place / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.program, "server", f"-dir={self.place / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                    *(f"-{name}.port={port}" for name, port in self.ports.items()),
                    *(f"-{name}.port.grpc={port + 10_000}" for name, port in self.ports.items()),
                    "-filer", "-s3", "-s3.port.lance=0", "-s3.port.iceberg=0", f"-s3.config={config}",
                    "-s3.autoCreateBucket=false", f"-volume.max={self.volumes}", "-master.telemetry=false",
                    f"-master.volumeSizeLimitMB={self.volume_mb}", "-master.volumePreallocate=false",
                ],
                stdout=log, stderr=log, cwd=self.place,
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                if httpx.get(self.endpoint, timeout=2).status_code < 500:
                    return
            except httpx.HTTPError:
                pass
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError("SeaweedFS did not start:\n" + (self.place / "weed.log").read_text()[-3000:])
            time.sleep(0.1)  # it has no other way to tell

    def bucket(self, name: str) -> None:
        """Make a bucket, through the admin side, which asks for no signature."""
        # A directory of the filer below /buckets is a bucket.
        answer = httpx.post(f"http://127.0.0.1:{self.ports['filer']}/buckets/{name}/", timeout=30)
        answer.raise_for_status()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


@contextmanager
def seaweed(program: Path, place: Path, *, volumes: int = 40, volume_mb: int = 64) -> Iterator[Seaweed]:
    """A running server, ended with the block."""
    server = Seaweed(program, place, volumes, volume_mb)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _free_ports(count: int) -> list[int]:
    """Ports below 55,000 that are free, and whose neighbours 10,000 above are too."""
    found: list[int] = []
    for _ in range(200):
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = int(low.getsockname()[1])
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
        if port not in found:
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")
