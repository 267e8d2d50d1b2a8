"""`quarry.yml` into a Stack: every problem with line and column, all of them at once.

    stack = read_stack(text, "shop")

A key that no job has, or that this kind of job has not, is an error with the nearest name that would be one. What each
key means stands in ``examples/all.yml``, which is also what tests and the manual are made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from skep.base.errors import BadInput, SkepError
from skep.deploy.stack.crossing import check_together
from skep.deploy.stack.fields import Fields
from skep.deploy.stack.located import Located, Problems, invalid, nearest, read_yaml
from skep.deploy.stack.located import Problem as Problem
from skep.deploy.stack.records import Build, Health, Job, Kind, Port, Stack, Volume
from skep.deploy.stack.schedule import parse_schedule

FILE_NAME = "quarry.yml"
JOBS_MAX = 200
SCALE_MAX = 1000
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_STACK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_DOCKERFILE = re.compile(r"(?:.*/)?Dockerfile[^/]*|\./.*")

_EVERY: frozenset[Kind] = frozenset({"service", "web", "worker", "cron", "static", "image"})
_RUN: frozenset[Kind] = frozenset({"service", "web", "worker", "cron"})
_STAY: frozenset[Kind] = frozenset({"service", "web", "worker"})
_MANY: frozenset[Kind] = frozenset({"web", "worker"})
_SITE: frozenset[Kind] = frozenset({"web", "static"})
KEYS: dict[str, frozenset[Kind]] = {
    "type": _EVERY,
    "container": _RUN | {"image"},
    "dockerfile": _RUN | {"image"},
    "install": _RUN | {"image"},
    "run": _RUN,
    "args": _RUN,
    "expose": _STAY,
    "domains": _SITE,
    "document_root": frozenset({"static"}),
    "volumes": _RUN,
    "env": _RUN,
    "links": _RUN,
    "scale": _MANY,
    "size": _RUN,
    "health": _STAY,
    "schedule": frozenset({"cron"}),
    "hook": _STAY,
    "unhook": _STAY,
    "global": frozenset({"service"}),
    "tags": _RUN,
    "grace": _RUN,
    "ssl_cert": _SITE,
    "ssl_key": _SITE,
}
"""Every key of a job, and the kinds that have it."""
KINDS: tuple[Kind, ...] = ("service", "web", "worker", "cron", "static", "image")


def checked_stack_name(name: str) -> str:
    """The name of a stack. Raises BadInput when images, hosts and folders could not be named by it."""
    if not _STACK_NAME.fullmatch(name):
        raise BadInput(f"{name[:80]!r} is no name of a stack: 1 to 40 of a-z, 0-9 and -, no dash first")
    return name


def read_stack(text: str, name: str, *, file_name: str = FILE_NAME) -> Stack:
    """The stack ``name`` that a file declares.

    Raises InvalidStack, whose ``details['problems']`` are maps of line, column and message; BadInput for the name.
    """
    checked_stack_name(name)
    top = read_yaml(text, file_name)
    if top is None or top.is_null:
        raise invalid(file_name, [Problem(1, 1, "the file declares no job: see `skep stack example`")])
    if top.entries is None:
        raise invalid(file_name, [Problem(top.line, top.column, f"the file is a map of jobs, not {top.kind()}")])
    problems = Problems()
    reader = _Reader(problems)
    jobs = []
    for key, body in top.entries[:JOBS_MAX]:
        job = reader.job(key, body)
        if job is not None:
            jobs.append(job)
    if len(top.entries) > JOBS_MAX:
        problems.add(top, f"the file declares more than {JOBS_MAX} jobs")
    stack = Stack(name=name, jobs=tuple(jobs))
    check_together(stack, reader.places, problems)
    problems.raise_if_any(file_name)
    return stack


class _Reader:
    """Reads jobs and remembers where what is checked across jobs stands."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.fields = Fields(problems)
        self.places: dict[tuple[str, str], Located] = {}
        """By job and what: ``("web", "links:db")``."""

    def job(self, key: Located, body: Located) -> Job | None:
        """One job; None when it is not even one."""
        name = key.text or ""
        if not _NAME.fullmatch(name):
            self.problems.add(key, f"{name[:60]!r} is no name of a job: a letter, then a-z, 0-9 and -, at most 40")
            return None
        self.places[name, ""] = key
        if body.entries is None:
            self.problems.add(body, f"{name} takes a map of keys such as type and run, not {body.kind()}")
            return None
        found = {k.text or "": (k, value) for k, value in body.entries}
        kind = self._kind(name, key, found)
        if kind is None:
            self._unknown(name, found)
            return None
        self._check_keys(name, kind, found)
        return self._built(name, kind, key, {word: value for word, (_, value) in found.items()})

    def _kind(self, name: str, key: Located, found: dict[str, tuple[Located, Located]]) -> Kind | None:
        if "type" not in found:
            self.problems.add(key, f"{name} has no type: say type: web, or one of {', '.join(KINDS)}")
            return None
        at = found["type"][1]
        word = at.text or ""
        if word not in KINDS:
            hint = nearest(word, KINDS)
            self.problems.add(at, f"{word[:40]!r} is no type of a job: they are {', '.join(KINDS)}{hint}")
            return None
        if word == "worker" and "document_root" in found:
            return "static"
        if word == "web" and "document_root" in found:
            return "static"
        if word == "worker" and "domains" in found:
            return "web"
        return next(kind for kind in KINDS if kind == word)

    def _unknown(self, name: str, found: dict[str, tuple[Located, Located]]) -> None:
        for word, (at, _) in found.items():
            if word not in KEYS:
                self.problems.add(at, f"{name} has no key {word[:40]!r}{nearest(word, KEYS)}")

    def _check_keys(self, name: str, kind: Kind, found: dict[str, tuple[Located, Located]]) -> None:
        self._unknown(name, found)
        for word, (at, _) in found.items():
            if word in KEYS and kind not in KEYS[word]:
                having = ", ".join(k for k in KINDS if k in KEYS[word])
                self.problems.add(at, f"{name} is a {kind} job, which has no {word}: only {having} have it")

    def _built(self, name: str, kind: Kind, key: Located, found: dict[str, Located]) -> Job:
        fields = self.fields
        found = {word: value for word, value in found.items() if word in KEYS and kind in KEYS[word]}

        def read(word: str, by: Callable[[Located], object], otherwise: object) -> object:
            return by(found[word]) if word in found else otherwise

        run = fields.command(found["run"]) if "run" in found else ()
        image, build = self._source(name, kind, key, found, run)
        ports = self._ports(kind, found)
        size, memory_limit_bytes, cpu_limit_millis = (
            fields.size(found["size"]) if "size" in found else (Job(name=name, kind=kind).size, 0, 0)
        )
        shares, shared_from = self._global(found)
        job = Job(
            name=name,
            kind=kind,
            image=image,
            build=build,
            run=run,
            args=fields.texts(found["args"]) if "args" in found else (),
            expose=ports,
            domains=self._domains(name, found),
            document_root=fields.tree_path(found["document_root"]) if "document_root" in found else "",
            volumes=self._volumes(name, found),
            env=fields.env(found["env"]) if "env" in found else {},
            links=self._links(name, found),
            scale=fields.whole(found["scale"], 0, SCALE_MAX) if "scale" in found else 1,
            size=size,
            memory_limit_bytes=memory_limit_bytes,
            cpu_limit_millis=cpu_limit_millis,
            health=self._health(kind, ports, found),
            schedule=self._schedule(name, kind, key, found),
            hook=fields.text(found["hook"]) if "hook" in found else "",
            unhook=fields.text(found["unhook"]) if "unhook" in found else "",
            shares=shares,
            shared_from=shared_from,
            tags=fields.tags(found["tags"]) if "tags" in found else (),
            ssl_cert=fields.tree_path(found["ssl_cert"]) if "ssl_cert" in found else "",
            ssl_key=fields.tree_path(found["ssl_key"]) if "ssl_key" in found else "",
            stop_grace_s=fields.seconds(found["grace"], most_s=3600.0) if "grace" in found else 10.0,
            line=key.line,
        )
        self._check_whole(job, key)
        return job

    def _source(
        self, name: str, kind: Kind, key: Located, found: dict[str, Located], run: tuple[str, ...]
    ) -> tuple[str, Build | None]:
        """The ready image, or how one is built."""
        fields = self.fields
        if kind == "static":
            return "", None
        container = fields.text(found["container"]) if "container" in found else ""
        install = fields.texts(found["install"]) if "install" in found else ()
        if container and (any(c.isspace() for c in container) or container.startswith("-")):
            self.problems.add(found["container"], f"{container[:80]!r} is no name of an image")
        for word in ("container", "dockerfile"):
            if word in found:
                self.places[name, "source"] = found[word]
        if "dockerfile" in found:
            text = fields.text(found["dockerfile"])
            if "\n" in text.strip() or re.match(r"\s*(?:#|FROM\s|ARG\s)", text, re.IGNORECASE):
                return "", Build(dockerfile_text=text, install=install)
            return "", Build(dockerfile_path=fields.tree_path(found["dockerfile"]), install=install)
        if container and _DOCKERFILE.fullmatch(container):
            return "", Build(dockerfile_path=fields.tree_path(found["container"]), install=install)
        if container and not install and (not run or kind == "service"):
            if kind == "image":
                self.problems.add(key, f"{name} only repeats {container}: an image job has a dockerfile or install")
            return container, None
        if container or run or install:
            return "", Build(base=container, install=install)
        self.problems.add(key, f"{name} has no image: say container, dockerfile or run")
        return "", None

    def _ports(self, kind: Kind, found: dict[str, Located]) -> tuple[Port, ...]:
        ports = self.fields.ports(found["expose"]) if "expose" in found else ()
        if kind != "web" or (ports and ("domains" not in found or any(port.number == 80 for port in ports))):
            return ports
        return (*ports, Port(number=80))

    def _domains(self, name: str, found: dict[str, Located]) -> tuple[str, ...]:
        if "domains" not in found:
            return ()
        pairs = self.fields.domains(found["domains"])
        for at, domain in pairs:
            self.places.setdefault((name, f"domain:{domain}"), at)
        return tuple(domain for _, domain in pairs)

    def _volumes(self, name: str, found: dict[str, Located]) -> tuple[Volume, ...]:
        if "volumes" not in found:
            return ()
        self.places[name, "volumes"] = found["volumes"]
        return self.fields.volumes(found["volumes"], name)

    def _links(self, name: str, found: dict[str, Located]) -> tuple[str, ...]:
        if "links" not in found:
            return ()
        for item in found["links"].each():
            self.places[name, f"link:{item.text}"] = item
        return self.fields.texts(found["links"])

    def _health(self, kind: Kind, ports: tuple[Port, ...], found: dict[str, Located]) -> Health | None:
        web = next((port for port in ports if port.number == 80), None)
        asked = (web, *ports) if web is not None else ports
        if "health" in found:
            return self.fields.health(found["health"], asked)
        return Health(kind="tcp", port=asked[0].number) if asked and kind in ("web", "service") else None

    def _schedule(self, name: str, kind: Kind, key: Located, found: dict[str, Located]) -> str:
        if kind != "cron":
            return ""
        if "schedule" not in found:
            self.problems.add(key, f"{name} is a cron job and has no schedule: say schedule: '*/5 * * * *'")
            return ""
        text = self.fields.text(found["schedule"])
        try:
            parse_schedule(text)
        except SkepError as error:
            if text:
                self.problems.add(found["schedule"], error.message)
        return text

    def _global(self, found: dict[str, Located]) -> tuple[bool, str]:
        if "global" not in found:
            return False, ""
        flag = self.fields.flag(found["global"])
        if flag is not None:
            return flag, ""
        return False, self.fields.text(found["global"])

    def _check_whole(self, job: Job, key: Located) -> None:
        if job.kind == "static" and not job.document_root:
            self.problems.add(key, f"{job.name} is a static job and has no document_root: the directory of its files")
        if bool(job.ssl_cert) != bool(job.ssl_key):
            self.problems.add(key, f"{job.name} needs both ssl_cert and ssl_key, or neither")
        asked = 0 if job.health is None or job.health.kind == "command" else job.health.port
        if asked and asked not in {port.number for port in job.expose}:
            self.problems.add(key, f"{job.name}: health asks port {asked}, which expose does not have")
        if job.scale > 1 and any(port.host_port for port in job.expose):
            self.problems.add(
                key, f"{job.name} has a fixed port of the host and scale {job.scale}: a port is one job's"
            )
