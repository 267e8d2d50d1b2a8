"""Other formats as stack files: a Procfile or a Compose file, with a note for everything that has no counterpart.

``SUPPORT`` is what is understood of Compose and how; the published table is made of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from skep.base.errors import SkepError
from skep.base.sizes import parse_size
from skep.deploy.stack.located import Located, Problem, invalid, read_yaml

SUPPORT: tuple[tuple[str, str], ...] = (
    ("image", "`container`"),
    ("build", "`dockerfile`: its path; the context must be the repository's root. `args`, `target` and others: noted"),
    ("command", "`run`, or `args` where the image has an entry point of its own"),
    ("entrypoint", "`run`, with `command` after it"),
    ("environment", "`env`; a name without a value is noted: it goes into the environment folder of the stack"),
    ("env_file", "noted: its variables go into the environment folder of the stack"),
    ("ports", "`expose`; an address in front is dropped, a host's port is kept for anything but a web job's"),
    ("expose", "`expose`"),
    ("volumes", "`volumes` for named and unnamed ones; a directory of the host is noted: images and volumes hold data"),
    ("depends_on", "`links`"),
    ("links", "`links`; other names are noted"),
    ("healthcheck", "`health` with `command`; `disable` is `none`"),
    ("scale, deploy.replicas", "`scale`"),
    ("mem_limit, cpus, deploy.resources.limits", "`size`"),
    ("stop_grace_period", "`grace`"),
    ("restart", "dropped: what must run is started again, always"),
    ("container_name, hostname, labels, logging, networks, init, tty, stdin_open", "dropped: Skep has its own ways"),
    ("everything else", "noted, and left out"),
)
_DROPPED = frozenset(
    {"restart", "container_name", "hostname", "labels", "logging", "networks", "init", "tty", "stdin_open", "platform"}
)
_PROCESS = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(.+)")
_PORT = re.compile(r"(?:(?:[0-9.]+|\[[0-9a-f:]+\]):)?(?:(\d+):)?(\d+)(?:/tcp)?")
_PLAIN = re.compile(r"[A-Za-z0-9_./@-][A-Za-z0-9_./@ -]*")


class Imported(msgspec.Struct, frozen=True):
    """A stack file that says the same, and what could not be said."""

    text: str
    notes: tuple[str, ...]


def import_procfile(text: str) -> Imported:
    """A Procfile: ``web`` is a web job, all others are workers. Raises InvalidStack."""
    jobs: dict[str, dict[str, Any]] = {}
    notes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _PROCESS.fullmatch(line.strip())
        if match is None:
            raise invalid("Procfile", [Problem(number, 1, f"{line[:60]!r} is no `name: command`")])
        name, command = _job_name(match[1]), match[2]
        if name == "release":
            notes.append("release: Skep runs it nowhere by itself: put it in front of run, or into install")
            continue
        jobs[name] = {"type": "web" if name == "web" else "worker", "run": command}
    if not jobs:
        raise invalid("Procfile", [Problem(1, 1, "the file declares no process")])
    if "web" in jobs:
        notes.append("web: it has no domains yet: say domains, and listen on $PORT")
    return Imported(_written(jobs, "a Procfile", notes), tuple(notes))


def import_compose(text: str) -> Imported:
    """A Compose file, as far as SUPPORT says. Raises InvalidStack."""
    top = read_yaml(text, "compose.yaml")
    services = _of(top, "services") if top is not None else None
    if services is None or not services.entries:
        raise invalid("compose.yaml", [Problem(1, 1, "the file has no services")])
    jobs: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for key, body in services.entries:
        name = _job_name(key.text or "")
        if body.entries is None:
            raise invalid("compose.yaml", [Problem(body.line, body.column, f"{name} takes a map")])
        jobs[name] = _Service(name, {k.text or "": value for k, value in body.entries}, notes).job()
    for key, _ in (top.entries or ()) if top is not None else ():
        if key.text not in ("services", "version", "name", "volumes", "networks"):
            notes.append(f"line {key.line}: {key.text} at the top is left out")
    return Imported(_written(jobs, "a Compose file", notes), tuple(notes))


def _job_name(name: str) -> str:
    clean = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:40]
    return clean if clean[:1].isalpha() else f"job-{clean}"[:40].rstrip("-")


def _of(at: Located, *path: str) -> Located | None:
    """What stands below these keys, if anything does."""
    for word in path:
        found = [value for key, value in at.entries or () if key.text == word]
        if not found:
            return None
        at = found[0]
    return at


def _text(at: Located | None) -> str:
    return at.text or "" if at is not None and not at.is_null else ""


class _Service:
    """One service of a Compose file on its way to a job."""

    def __init__(self, name: str, found: dict[str, Located], notes: list[str]) -> None:
        self.name = name
        self.found = found
        self._notes = notes

    def note(self, at: Located, text: str) -> None:
        """Say what has no counterpart."""
        self._notes.append(f"line {at.line}: {self.name}: {text}")

    def job(self) -> dict[str, Any]:
        """The job, and a note for everything that is left out."""
        known = {
            "image", "build", "command", "entrypoint", "environment", "env_file", "ports", "expose", "volumes",
            "depends_on", "links", "healthcheck", "scale", "deploy", "mem_limit", "cpus", "stop_grace_period",
        }  # fmt: skip
        for word, at in self.found.items():
            if word not in known | _DROPPED:
                self.note(at, f"{word} has no counterpart and is left out")
        ports = self._ports()
        volumes = self._volumes()
        built = "build" in self.found
        kind = "web" if built and ports else "worker" if built else "service"
        job: dict[str, Any] = {"type": kind}
        job |= self._source()
        if ports:
            job["expose"] = [own if kind == "web" or not host else f"{host}:{own}" for host, own in ports]
        values = {
            "volumes": volumes, "env": self._env(), "links": self._links(), "scale": self._scale(kind),
            "size": self._size(), "health": self._health(), "grace": _text(self.found.get("stop_grace_period")),
        }  # fmt: skip
        return job | {key: value for key, value in values.items() if value}

    def _words(self, word: str) -> str | list[str]:
        at = self.found.get(word)
        if at is None:
            return ""
        return [_text(item) for item in at.items] if at.items is not None else _text(at)

    def _source(self) -> dict[str, Any]:
        job: dict[str, Any] = {}
        build = self.found.get("build")
        if build is not None:
            context = _text(build) if build.is_plain else _text(_of(build, "context")) or "."
            path = _text(_of(build, "dockerfile")) if build.entries is not None else ""
            root = context.strip("./")
            if root:
                self.note(build, f"the context is the repository's root here, not {context}: look at COPY and ADD")
            job["dockerfile"] = "/".join(part for part in (root, path or "Dockerfile") if part)
            for key, value in build.entries or ():
                if key.text not in ("context", "dockerfile"):
                    self.note(value, f"build.{key.text} has no counterpart and is left out")
        elif "image" in self.found:
            job["container"] = _text(self.found["image"])
        entry, command = self._words("entrypoint"), self._words("command")
        if entry and command:
            job["run"] = [word for part in (entry, command) for word in ([part] if isinstance(part, str) else part)]
        elif entry or (command and not build):
            job["run" if entry else "args"] = entry or (command if isinstance(command, list) else command.split())
        elif command:
            job["run"] = command
        return job

    def _env(self) -> dict[str, str]:
        at = self.found.get("environment")
        if "env_file" in self.found:
            self.note(self.found["env_file"], "env_file: put its variables into the environment folder of the stack")
        pairs: list[tuple[Located, str, str | None]] = []
        for key, value in (at.entries or ()) if at is not None else ():
            pairs.append((key, key.text or "", None if value.is_null else _text(value)))
        for item in (at.items or ()) if at is not None else ():
            name, equals, text = _text(item).partition("=")
            pairs.append((item, name, text if equals else None))
        for place, name, given in pairs:
            if given is None:
                self.note(
                    place, f"{name} comes from whoever runs compose: put it into the environment folder of the stack"
                )
        return {name: given for _, name, given in pairs if given is not None}

    def _ports(self) -> list[tuple[int, int]]:
        """Ports of the host (0: any) and the service's own."""
        found: dict[int, int] = {}
        for word in ("ports", "expose"):
            at = self.found.get(word)
            for item in at.each() if at is not None else ():
                text = _text(item)
                if item.entries is not None:
                    text = ":".join(t for t in (_text(_of(item, "published")), _text(_of(item, "target"))) if t)
                match = _PORT.fullmatch(text)
                if match is None:
                    self.note(item, f"the port {text or item.kind()} is left out: only single TCP ports are known")
                    continue
                found.setdefault(int(match[2]), int(match[1] or 0) if word == "ports" else 0)
        return [(host, own) for own, host in found.items()]

    def _volumes(self) -> list[str]:
        kept = []
        at = self.found.get("volumes")
        for item in at.each() if at is not None else ():
            if item.entries is not None:
                source, path = _text(_of(item, "source")), _text(_of(item, "target"))
                is_host = _text(_of(item, "type")) not in ("", "volume")
            else:
                source, _, path = _text(item).removesuffix(":ro").removesuffix(":rw").rpartition(":")
                is_host = source[:1] in ("/", ".", "~")
            if is_host:
                self.note(item, f"{source}:{path} is a directory of the host: put it into the image, or use a volume")
            elif path:
                name = re.sub(r"[^a-z0-9._-]+", "-", source.lower()).strip("-._")
                kept.append(f"{name}:{path}" if name else path)
        return kept

    def _links(self) -> list[str]:
        names: list[str] = []
        for word in ("depends_on", "links"):
            at = self.found.get(word)
            if at is not None:
                given = [key.text or "" for key, _ in at.entries] if at.entries else [_text(i) for i in at.each()]
                names += [_job_name(name.partition(":")[0]) for name in given]
                if any(":" in name for name in given):
                    self.note(at, "a link's second name is left out")
        return list(dict.fromkeys(names))

    def _scale(self, kind: str) -> int | str:
        deploy = self.found.get("deploy")
        at = self.found.get("scale") or (_of(deploy, "replicas") if deploy is not None else None)
        if at is not None and kind == "service":
            self.note(at, "a service runs once: its scale is left out")
            return ""
        return int(_text(at)) if _text(at).isdigit() else ""

    def _size(self) -> dict[str, str]:
        deploy = self.found.get("deploy")
        limits = _of(deploy, "resources", "limits") if deploy is not None else None
        memory = _text(self.found.get("mem_limit")) or (_text(_of(limits, "memory")) if limits is not None else "")
        cpu = _text(self.found.get("cpus")) or (_text(_of(limits, "cpus")) if limits is not None else "")
        try:
            parse_size(memory or "0")
        except SkepError:
            memory = ""
        return {key: value for key, value in (("memory", memory), ("cpu", cpu)) if value}

    def _health(self) -> dict[str, Any] | str:
        at = self.found.get("healthcheck")
        if at is None:
            return ""
        test = _of(at, "test")
        if _text(_of(at, "disable")) == "true" or (test is not None and [_text(i) for i in test.each()] == ["NONE"]):
            return "none"
        if test is None:
            self.note(at, "healthcheck without a test is left out")
            return ""
        words: list[str] | str = [_text(item) for item in test.items] if test.items is not None else _text(test)
        if isinstance(words, list):
            words = words[1:] if words[0] == "CMD" else " ".join(words[1:]) if words[0] == "CMD-SHELL" else words
        health: dict[str, Any] = {"command": words}
        for theirs, ours in (("interval", "interval"), ("timeout", "timeout"), ("start_period", "grace")):
            if _text(_of(at, theirs)):
                health[ours] = _text(_of(at, theirs))
        if _text(_of(at, "retries")):
            health["retries"] = int(_text(_of(at, "retries")) or 3)
        return health


def _written(jobs: dict[str, dict[str, Any]], source: str, notes: list[str]) -> str:
    """A stack file as text, with the notes on top."""
    lines = [f"# Made from {source} by `skep stack import`."]
    lines += [f"#   {note}" for note in notes]
    for name, job in jobs.items():
        lines += ["", f"{name}:"]
        for key, value in job.items():
            lines += _value(key, value, "  ")
    return "\n".join(lines) + "\n"


def _value(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, dict):
        return [f"{indent}{key}:", *(line for k, v in value.items() for line in _value(k, v, indent + "  "))]
    if isinstance(value, list):
        return [f"{indent}{key}:", *(f"{indent}  - {_scalar(item)}" for item in value)]
    return [f"{indent}{key}: {_scalar(value)}"]


def _scalar(value: Any) -> str:
    text = str(value)
    if isinstance(value, int) or (_PLAIN.fullmatch(text) and text == text.strip() and not text.startswith(("-", "@"))):
        return text
    return json.dumps(text, ensure_ascii=False)


def support_table() -> str:
    """What is understood of Compose, as a table in Markdown."""
    rows = [f"| {theirs} | {ours} |" for theirs, ours in SUPPORT]
    return "\n".join(["| of a service in Compose | becomes |", "|---|---|", *rows])
