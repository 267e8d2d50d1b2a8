"""Requests made up by schemathesis from the OpenAPI page: none may be a fault of ours, each answer is as described."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from skep.testing.process import made_hive

SCOPES = ["files:read", "files:write", "chunks:read", "chunks:write", "account", "admin"]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = (
    "/api/auth/logout",  # ends what the rest needs
    "/api/auth/app-passwords/{app_password_id}",  # schemathesis takes ids out of answers, and so its own
    "/api/auth/users/{user}",
    "/api/filesystem/batch",  # a framing of our own, which schemathesis cannot write; it has tests of its own
    "/api/filesystem/changes",  # waits as long as it is told to
    "/api/admin/stores/{store}/check",  # takes seconds each
)


@pytest.mark.long
def test_the_api_is_as_its_openapi_page_says(tmp_path: Path) -> None:
    hive = made_hive(tmp_path / "hive")
    hive.settings.update({"limits.requests_per_second": "100000", "limits.requests_burst": "100000"})
    hive.start()
    try:
        with hive.client() as client:
            made = client.post("/api/auth/app-passwords", json={"name": "schemathesis", "scopes": SCOPES}).json()
        # An app password outlives the changes of passwords that are made up on the way.
        run = [
            Path(sys.executable).with_name("st"), "run", f"{hive.url}/api/openapi.json",
            "--auth", f"admin:{made['secret']}", "--checks", CHECKS, "--phases", "examples,fuzzing",
            "--max-examples", "15", "--request-timeout", "20", "--continue-on-failure", "--seed", "2026",
            *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
        ]  # fmt: skip
        done = subprocess.run(run, capture_output=True, text=True, timeout=900, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "Operations:" in done.stdout
        still = httpx.get(f"{hive.url}/api/auth/me", auth=("admin", made["secret"]))
        assert still.status_code == 200, still.text  # the run reached what needs a login up to its end
    finally:
        hive.stop()
