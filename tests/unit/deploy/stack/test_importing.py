"""Procfiles and Compose files become stack files that are read without a problem."""

from __future__ import annotations

import pytest

from skep.base.errors import InvalidStack
from skep.deploy.stack.importing import import_compose, import_procfile
from skep.deploy.stack.reader import read_stack
from skep.deploy.stack.records import Build, Health, Job, Port, Volume

COMPOSE = """
version: "3"
services:
  Web_App:
    build: {context: ./app, dockerfile: Docker.web, args: [X=1]}
    command: npm start
    ports: ["127.0.0.1:8080:3000", "9229:9229/udp"]
    environment:
      DB_URL: "postgres://db:5432?a=b"
      SECRET:
      DEBUG: 1
    env_file: .env
    depends_on: {db: {condition: service_healthy}}
    volumes: ["./src:/app/src", "uploads:/up", "/cache"]
    deploy: {replicas: 3, resources: {limits: {cpus: "0.5", memory: 512M}}}
    stop_grace_period: 1m30s
    privileged: true
  db:
    image: postgres:16
    restart: always
    expose: [5432]
    command: ["postgres", "-c", "fsync=off"]
    volumes: [{type: volume, source: data, target: /var/lib/postgresql/data}]
    healthcheck: {test: ["CMD-SHELL", "pg_isready -U x"], interval: 5s, retries: 9}
volumes: {uploads: {}, data: {}}
secrets: {x: {file: y}}
"""


def jobs(text: str) -> dict[str, Job]:
    return {job.name: job for job in read_stack(text, "shop").jobs}


def test_a_compose_file_becomes_a_stack_that_says_the_same() -> None:
    found = jobs(import_compose(COMPOSE).text)
    web, db = found["web-app"], found["db"]
    assert (web.kind, db.kind) == ("web", "service")
    assert web.build == Build(dockerfile_path="app/Docker.web")
    assert web.run == ("sh", "-c", "npm start")
    assert web.expose == (Port(number=3000),)
    assert web.env == {"DB_URL": "postgres://db:5432?a=b", "DEBUG": "1"}
    assert web.volumes == (Volume(path="/up", name="uploads"), Volume(path="/cache", name="web-app.cache"))
    assert (web.links, web.scale, web.stop_grace_s) == (("db",), 3, 90.0)
    assert (web.size.memory_bytes, web.size.cpu_millis) == (512 << 20, 500)
    assert (db.image, db.args) == ("postgres:16", ("postgres", "-c", "fsync=off"))
    assert db.volumes == (Volume(path="/var/lib/postgresql/data", name="data"),)
    assert db.health == Health(kind="command", command=("sh", "-c", "pg_isready -U x"), interval_s=5.0, retries=9)


def test_whatever_has_no_counterpart_is_noted_with_its_line() -> None:
    notes = import_compose(COMPOSE).notes
    expected = ["privileged", "context", "build.args", "9229:9229/udp", "SECRET", "env_file", "./src", "secrets"]
    assert [word for word in expected if not any(word in note for note in notes)] == []
    assert all(note.startswith("line ") for note in notes)
    assert len(notes) == len(expected)


def test_a_procfile_becomes_a_web_job_and_workers() -> None:
    imported = import_procfile("# x\nweb: bundle exec puma -p $PORT\nclock_1: ruby 'a: b'\nrelease: rake db:migrate\n")
    found = jobs(imported.text)
    assert {name: job.kind for name, job in found.items()} == {"web": "web", "clock-1": "worker"}
    assert found["web"].run == ("sh", "-c", "bundle exec puma -p $PORT")
    assert found["clock-1"].run == ("sh", "-c", "ruby 'a: b'")
    assert any("release" in note for note in imported.notes)


@pytest.mark.parametrize("text", ["", "just words", "# only"])
def test_what_is_no_procfile_is_told(text: str) -> None:
    with pytest.raises(InvalidStack):
        import_procfile(text)


@pytest.mark.parametrize("text", ["", "a: b", "services: {}", "services: {a: b}", "services: [a]", "a: ["])
def test_what_is_no_compose_file_is_told(text: str) -> None:
    with pytest.raises(InvalidStack):
        import_compose(text)
