"""A hive with an S3 port of its own, and an access key: what programs of others are pointed at."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config

from skep.testing.process import RunningHive, made_hive

LIMIT_S = 120


@dataclass(frozen=True)
class S3Hive:
    """A running hive as an S3 client sees it."""

    hive: RunningHive
    port: int
    access_key: str
    secret: str

    @property
    def endpoint(self) -> str:
        """The port of its own."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """For programs that take their credentials from Amazon's variables, and nothing from this machine."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {
            **kept,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, endpoint: str = "", **options: object):
        """A boto3 client that does not try twice."""
        config = Config(signature_version="s3v4", retries={"max_attempts": 1, "mode": "standard"}, **options)  # type: ignore[arg-type]
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=config,
        )

    def new_key(self, **bounds: object) -> S3Hive:
        """Another access key of the same user."""
        with self.hive.client() as client:
            made = client.post("/api/auth/access-keys", json={"name": "another", **bounds}).json()
        return S3Hive(self.hive, self.port, made["access_key"], made["secret"])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Hive]:
    """One hive for the tests of a module: each uses buckets of its own."""
    port = free_port()
    hive = made_hive(tmp_path_factory.mktemp("hive"), server__s3_port=str(port))
    hive.start()
    try:
        yield S3Hive(hive, port, "", "").new_key()
    finally:
        hive.stop()


@pytest.fixture
def dav(s3: S3Hive) -> Iterator[httpx.Client]:
    """The same hive through its own API."""
    with s3.hive.client() as client:
        yield client


@pytest.fixture
def run(s3: S3Hive, tmp_path: Path) -> Callable[..., str]:
    """Run a program of others with a home of its own; its output. Fails with what it said."""

    def call(*command: object, check: bool = True, **environment: str) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=tmp_path,
            env={**s3.environment, "HOME": str(tmp_path), **environment},
        )
        said = f"{done.stdout}\n{done.stderr}"
        if check:
            assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{said[-4000:]}"
        return said

    return call
