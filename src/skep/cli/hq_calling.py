"""From a command to an HQ and back: where it is, one order, what it tells, its result.

HQ is what ``--hq`` or ``SKEP_HQ`` says, else the git remote of this repository that leads to one (called ``skep``, or
the only one over ``ssh://``), else the one whose folder is on this machine. Over SSH the user's own ``ssh`` is run, so
that keys, agents and known hosts are those that ``git push`` uses.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click

from skep.base.errors import BadInput, HostUnavailable, LocalFailure, SkepError
from skep.cli.options import with_output
from skep.cli.output import Output, shown

P = ParamSpec("P")
R = TypeVar("R")
CONTROL = "skep-control"
DEFAULT_PORT = 22
_PIECE_BYTES = 1 << 16
_NOT_REACHED = 255


@dataclass(frozen=True, slots=True)
class HqPlace:
    """Where an HQ is: a folder of this machine, or a host. ``stack``: the one that the repository is pushed to."""

    folder: Path | None = None
    host: str = ""
    port: int = DEFAULT_PORT
    user: str = "skep"
    stack: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return str(self.folder) if self.folder is not None else f"{self.user}@{self.host}:{self.port}"


def find_hq(given: str | None) -> HqPlace:
    """The HQ that a command means. Raises BadInput when nothing says which."""
    from skep.deploy.hq.folder import default_folder

    remote = _of_repository()
    if given:
        place = parse_place(given)
        return HqPlace(
            place.folder, place.host, place.port, place.user, place.stack or (remote.stack if remote else "")
        )
    if remote is not None:
        return remote
    if (default_folder() / "hq.sock").exists():
        return HqPlace(folder=default_folder())
    raise BadInput(
        "no HQ is named: say --hq ssh://skep@HOST:PORT, set SKEP_HQ, add a git remote `skep`, or start one here "
        "(`skep hq init`, `skep hq serve`)"
    )


def parse_place(text: str) -> HqPlace:
    """``ssh://skep@hq:2222/shop``, or the folder of an HQ on this machine. Raises BadInput."""
    if not text.startswith("ssh://"):
        if "://" in text or not Path(text).is_absolute():
            raise BadInput(f"{text!r} is no HQ: write ssh://skep@HOST:PORT, or the absolute path of its folder")
        return HqPlace(folder=Path(text))
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError:
        host, port = "", 0
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        raise BadInput(f"{text!r} is no HQ: write ssh://skep@HOST:PORT")
    return HqPlace(None, host, port, parts.username or "skep", parts.path.strip("/").removesuffix(".git"))


def _of_repository() -> HqPlace | None:
    """What the remotes of this repository say."""
    command = ["git", "config", "--get-regexp", r"^remote\..*\.url$"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    urls = dict(line.split(" ", 1) for line in told.splitlines() if " " in line)
    named = urls.get("remote.skep.url", "")
    over_ssh = [url for url in urls.values() if url.startswith("ssh://skep@")]
    url = named or (over_ssh[0] if len(over_ssh) == 1 else "")
    return parse_place(url) if url.startswith("ssh://") else None


class HqCall:
    """What commands get: one HQ, asked as often as the command needs."""

    def __init__(self, place: HqPlace) -> None:
        self.place = place

    def stack(self, name: str | None) -> str:
        """The stack that a command means: named, or where the repository is pushed to. Raises BadInput."""
        if name or self.place.stack:
            return name or self.place.stack
        raise BadInput("which stack? Name it, or run this in a repository that has an HQ as a remote")

    def ask(
        self,
        command: str,
        *,
        say: Callable[[str], None] = lambda text: None,
        line: Callable[[Mapping[str, Any]], None] = lambda told: None,
        body: IO[bytes] | None = None,
        **args: Any,
    ) -> Any:
        """Give one order and wait for its result.

        ``say`` hears what is told meanwhile, ``line`` every line of logs; ``body`` is sent after the order. Raises what
        HQ says went wrong, HostUnavailable when it cannot be reached.
        """
        order = (
            json.dumps({"command": command, "args": {k: v for k, v in args.items() if v is not None}}).encode() + b"\n"
        )
        with _session(self.place, order, body) as answer:
            for raw in answer:
                told = json.loads(raw)
                if "say" in told:
                    say(shown(str(told["say"])))
                elif "line" in told:
                    line(told["line"])
                elif "error" in told:
                    raise _error_of(told["error"])
                elif "result" in told:
                    return told["result"]
        raise HostUnavailable(f"HQ at {self.place.name} went away before its answer")


@contextlib.contextmanager
def _session(place: HqPlace, order: bytes, body: IO[bytes] | None) -> Iterator[IO[bytes]]:
    if place.folder is not None:
        with _unix(place.folder) as answer:
            _send(answer, order, body)
            if body is not None:
                answer.shutdown(socket.SHUT_WR)
            with answer.makefile("rb") as lines:
                yield lines
        return
    ssh = shlex.split(os.environ.get("SKEP_SSH") or os.environ.get("GIT_SSH_COMMAND") or "ssh")
    command = [*ssh, "-T", "-p", str(place.port), "--", f"{place.user}@{place.host}", CONTROL]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise LocalFailure(f"{ssh[0]} cannot be run: {error.strerror}") from None
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            _write(process.stdin, order, body)
            if body is not None:
                process.stdin.close()
        yield process.stdout
        if process.wait() == _NOT_REACHED:
            raise HostUnavailable(f"HQ at {place.name} cannot be reached, or does not know your key")
    finally:
        if process.poll() is None:
            process.terminate()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait()


@contextlib.contextmanager
def _unix(folder: Path) -> Iterator[socket.socket]:
    from skep.deploy.hq.folder import SOCKET_NAME, unix_address

    name, descriptor = unix_address(folder / SOCKET_NAME)
    with socket.socket(socket.AF_UNIX) as hq:
        try:
            hq.connect(name)
        except OSError:
            raise HostUnavailable(f"no HQ answers in {folder}: start it with `skep hq serve`") from None
        finally:
            os.close(descriptor)
        yield hq


def _send(hq: socket.socket, order: bytes, body: IO[bytes] | None) -> None:
    with contextlib.suppress(BrokenPipeError), hq.makefile("wb") as out:
        _write(out, order, body)


def _write(out: IO[bytes], order: bytes, body: IO[bytes] | None) -> None:
    out.write(order)
    while body is not None and (piece := body.read(_PIECE_BYTES)):
        out.write(piece)
    out.flush()


def _error_of(told: Mapping[str, Any]) -> SkepError:
    """HQ's error as one of ours, so that exit codes are those of every command."""
    code, message = str(told.get("code", "")), shown_lines(str(told.get("message", "")))
    pending = [SkepError]
    while pending:
        kind = pending.pop()
        if kind.code == code:
            return kind(message, **{k: v for k, v in dict(told.get("details") or {}).items() if k != "message"})
        pending += kind.__subclasses__()
    return SkepError(message)


def shown_lines(text: str) -> str:
    """Lines of another machine as they are safe to show."""
    return "\n".join(shown(line) for line in text.split("\n"))


def with_hq(command: Callable[Concatenate[Output, HqCall, P], R]) -> Callable[P, R]:
    """Add ``--hq``, ``--json`` and ``--quiet``; the command gets an Output and an HqCall first."""

    @click.option("--hq", "hq_url", envvar="SKEP_HQ", metavar="URL", help="Which HQ: ssh://skep@HOST:PORT or a folder.")
    @functools.wraps(command)
    def outer(output: Output, /, *args: P.args, **kwargs: P.kwargs) -> R:
        given = kwargs.pop("hq_url")
        return command(output, HqCall(find_hq(str(given) if given else None)), *args, **kwargs)

    return with_output(outer)
