"""Reading single values of a stack file: each says what it takes, and notes what is wrong where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec.structs import replace

from skep.base.durations import parse_duration
from skep.base.errors import SkepError
from skep.base.sizes import parse_size
from skep.deploy.stack.environment import checked_variable
from skep.deploy.stack.located import Located, Problems, nearest
from skep.deploy.stack.records import Health, Port, Size, Volume

T = TypeVar("T")
ITEMS_MAX = 200
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VOLUME_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=-]{0,63}")
_WORDS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
HEALTH_KEYS = ("http", "tcp", "command", "port", "interval", "timeout", "grace", "retries")
SIZE_KEYS = ("memory", "cpu", "disk", "cpu_limit")


class Fields:
    """Readers of values, which all note problems in one place and then give a harmless value."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def text(self, at: Located) -> str:
        """One text that is not empty."""
        if at.text is None or at.is_null:
            self.problems.add(at, f"{at.where} takes one text, not {at.kind()}")
            return ""
        return at.text

    def texts(self, at: Located) -> tuple[str, ...]:
        """One text or a list of them."""
        found = [(item, self.text(item)) for item in self._each(at)]
        return tuple(text for _, text in found if text)

    def _each(self, at: Located) -> list[Located]:
        if at.entries is not None:
            self.problems.add(at, f"{at.where} takes one text or a list of them, not a map")
            return []
        items = list(at.each())
        if not items:
            self.problems.add(at, f"{at.where} is empty: leave it out, or say something")
        if len(items) > ITEMS_MAX:
            self.problems.add(at, f"{at.where} has more than {ITEMS_MAX} items")
        return items[:ITEMS_MAX]

    def command(self, at: Located) -> tuple[str, ...]:
        """A text for the shell, or a list of words that no shell sees."""
        if at.items is not None:
            return self.texts(at)
        text = self.text(at)
        return ("sh", "-c", text) if text else ()

    def whole(self, at: Located, least: int, most: int) -> int:
        """A whole number."""
        text = self.text(at).strip()
        if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
            if text:
                self.problems.add(at, f"{at.where} takes a whole number from {least} to {most}, not {text[:40]!r}")
            return least
        return int(text)

    def flag(self, at: Located) -> bool | None:
        """``yes`` or ``no``; None when it is another word."""
        return _WORDS.get((at.text or "").lower())

    def _parsed(self, at: Located, parse: Callable[[str], T], otherwise: T) -> T:
        text = self.text(at)
        if not text:
            return otherwise
        try:
            return parse(text)
        except SkepError as error:
            self.problems.add(at, f"{at.where}: {error.message}")
            return otherwise

    def seconds(self, at: Located, *, most_s: float = 86_400.0) -> float:
        """A duration: ``10``, ``10s``, ``2min``."""
        seconds = self._parsed(at, parse_duration, 1.0)
        if not 0 <= seconds <= most_s:
            self.problems.add(at, f"{at.where} is at most {most_s:g} seconds")
            return 1.0
        return seconds

    def size_bytes(self, at: Located) -> int:
        """A size: ``512MB``."""
        return self._parsed(at, parse_size, 0)

    def cpu_millis(self, at: Located) -> int:
        """Processors: ``0.5`` or ``500m``."""
        text = self.text(at).strip()
        match = re.fullmatch(r"(\d{1,6})m|(\d{1,3}(?:\.\d{1,3})?)", text, re.ASCII)
        millis = 0 if match is None else int(match[1]) if match[1] else round(float(match[2]) * 1000)
        if text and not 1 <= millis <= 999_999:
            self.problems.add(at, f"{at.where} takes processors, such as 0.5 or 500m, not {text[:40]!r}")
        return max(1, millis)

    def known(self, at: Located, keys: Iterable[str]) -> dict[str, Located]:
        """The entries of a map, of which only these keys are known."""
        allowed = tuple(keys)
        if at.entries is None:
            self.problems.add(at, f"{at.where} takes a map of {', '.join(allowed)}, not {at.kind()}")
            return {}
        found = {}
        for key, value in at.entries:
            assert key.text is not None
            if key.text in allowed:
                found[key.text] = value
            else:
                self.problems.add(key, f"{at.where} has no key {key.text!r}{nearest(key.text, allowed)}")
        return found

    # --- what jobs are made of ---------------------------------------------------------------

    def size(self, at: Located) -> tuple[Size, int, int]:
        """The size, the memory limit in bytes and the processor limit in thousandths."""
        if at.is_plain:
            memory_bytes = self.size_bytes(at)
            return Size(memory_bytes=memory_bytes), memory_bytes, 0
        found = self.known(at, SIZE_KEYS)
        memory = self.size_bytes(found["memory"]) if "memory" in found else 0
        size = Size(
            memory_bytes=memory or Size().memory_bytes,
            cpu_millis=self.cpu_millis(found["cpu"]) if "cpu" in found else Size().cpu_millis,
            disk_bytes=self.size_bytes(found["disk"]) if "disk" in found else 0,
        )
        return size, memory, self.cpu_millis(found["cpu_limit"]) if "cpu_limit" in found else 0

    def ports(self, at: Located) -> tuple[Port, ...]:
        """``80``, ``8080:80`` (host first) or a list of such."""
        ports: list[Port] = []
        for item in self._each(at):
            text = self.text(item).strip()
            host, colon, own = text.rpartition(":")
            if not _is_port(own) or (colon and not _is_port(host)):
                if text:
                    takes = "a port (80) or the host's port and its own (8080:80), each from 1 to 65535"
                    self.problems.add(item, f"{item.where} takes {takes}, not {text[:40]!r}")
            elif int(own) in {port.number for port in ports}:
                self.problems.add(item, f"port {own} is exposed twice")
            else:
                ports.append(Port(number=int(own), host_port=int(host or 0)))
        return tuple(ports)

    def domains(self, at: Located) -> list[tuple[Located, str]]:
        """Domain names with their places; in lower case, as the network writes them."""
        found = []
        for item in self._each(at):
            name = self.text(item)
            domain = _domain(name)
            if domain is not None:
                found.append((item, domain))
            elif name:
                self.problems.add(item, f"{name[:80]!r} is no domain: write shop.example.com or *.example.com")
        return found

    def volumes(self, at: Located, job: str) -> tuple[Volume, ...]:
        """``/data`` or ``name:/data``, or a list of such."""
        volumes: list[Volume] = []
        for item in self._each(at):
            text = self.text(item)
            name, colon, path = text.rpartition(":")
            parts = [part for part in path.split("/") if part not in ("", ".")]
            if text and (".." in parts or not parts or any(c in path for c in "\0\n")):
                self.problems.add(item, f"{text[:80]!r} is no directory for a volume: write /data or uploads")
                continue
            if colon and not _VOLUME_NAME.fullmatch(name):
                hint = ": a directory of the host cannot be a volume" if name[:1] in "./~" else ""
                self.problems.add(item, f"{name[:60]!r} is no name of a volume{hint}")
                continue
            clean = ("/" if path.startswith("/") else "") + "/".join(parts)
            if clean in {volume.path for volume in volumes}:
                self.problems.add(item, f"{clean} is there twice")
            elif parts:
                slug = re.sub(r"[^a-z0-9._]+", "-", clean.lower()).strip("-.") or "data"
                volumes.append(Volume(path=clean, name=name or f"{job}.{slug}"))
        return tuple(volumes)

    def env(self, at: Located) -> dict[str, str]:
        """A map of variables, or a list of ``NAME=VALUE``. Values are the text that stands there."""
        pairs: list[tuple[Located, str, Located]] = []
        values: dict[str, str] = {}
        if at.entries is not None:
            pairs = [(key, key.text or "", value) for key, value in at.entries]
            for key, name, value in pairs:
                if value.text is None:
                    self.problems.add(value, f"{value.where} takes one text, not {value.kind()}")
                elif self._is_variable(key, name):
                    values[name] = "" if value.is_null and value.text != "" else value.text
            return values
        for item in self._each(at):
            name, equals, text = self.text(item).partition("=")
            if not equals:
                self.problems.add(item, f"{item.where} takes NAME=VALUE")
            elif self._is_variable(item, name):
                values[name] = text
        return values

    def _is_variable(self, at: Located, name: str) -> bool:
        try:
            checked_variable(name)
        except SkepError as error:
            self.problems.add(at, error.message)
            return False
        return True

    def tags(self, at: Located) -> tuple[str, ...]:
        """Words that machines have."""
        words = self.texts(at)
        for word in words:
            if not _TAG.fullmatch(word):
                self.problems.add(at, f"{word[:60]!r} is no tag: letters, digits and . _ : = -")
        return words

    def health(self, at: Located, ports: tuple[Port, ...]) -> Health | None:
        """``/path``, ``tcp``, ``none`` or a map."""
        first = ports[0].number if ports else 0
        if at.is_plain:
            word = self.text(at)
            if word in ("none", "no"):
                return None
            if word == "tcp":
                return self._with_port(at, Health(kind="tcp", port=first))
            if word.startswith("/"):
                return self._with_port(at, Health(kind="http", port=first, path=word))
            self.problems.add(at, f"{at.where} takes a path (/healthz), tcp, none or a map, not {at.kind()}")
            return None
        return self._health_map(at, self.known(at, HEALTH_KEYS), first)

    def _health_map(self, at: Located, found: dict[str, Located], first: int) -> Health | None:
        ways = [way for way in ("http", "tcp", "command") if way in found]
        if len(ways) != 1:
            self.problems.add(at, f"{at.where} says one of http, tcp and command")
            return None
        port = self.whole(found["port"], 1, 65_535) if "port" in found else first
        health = self._patience(at, found)
        if ways == ["command"]:
            return replace(health, kind="command", command=self.command(found["command"]))
        if ways == ["tcp"]:
            return self._with_port(at, replace(health, port=port))
        path = self.text(found["http"])
        if not path.startswith("/"):
            self.problems.add(found["http"], f"{found['http'].where} takes a path that begins with /")
        return self._with_port(at, replace(health, kind="http", port=port, path=path))

    def _patience(self, at: Located, found: dict[str, Located]) -> Health:
        usual = Health(kind="tcp")

        def seconds(name: str, otherwise: float) -> float:
            return self.seconds(found[name], most_s=3600.0) if name in found else otherwise

        health = Health(
            kind="tcp",
            interval_s=seconds("interval", usual.interval_s),
            timeout_s=seconds("timeout", usual.timeout_s),
            grace_s=seconds("grace", usual.grace_s),
            retries=self.whole(found["retries"], 1, 100) if "retries" in found else usual.retries,
        )
        if health.interval_s < 0.1 or health.timeout_s < 0.1:
            self.problems.add(at, f"{at.where}: interval and timeout are at least 0.1 seconds")
        return health

    def _with_port(self, at: Located, health: Health) -> Health | None:
        if health.port:
            return health
        self.problems.add(at, f"{at.where} asks a port, and the job exposes none: say expose")
        return None

    def tree_path(self, at: Located) -> str:
        """A path inside the pushed tree, relative to its root and clean."""
        text = self.text(at)
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or ".." in parts:
            self.problems.add(at, f"{at.where} takes a path inside the repository, not {text[:80]!r}")
            return ""
        return "/".join(parts) or "."


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535


def _domain(name: str) -> str | None:
    text = name.strip().removesuffix(".").lower()
    star, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if not rest.isascii():
        try:
            rest = rest.encode("idna").decode()
        except UnicodeError:
            return None
    labels = rest.split(".")
    if len(rest) > 250 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        return None
    return None if star and len(labels) < 2 else star + rest
