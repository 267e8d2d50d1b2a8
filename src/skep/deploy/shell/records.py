"""Commands and results as data: what tests compare, plans print and runners run."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

OUTPUT_MAX_BYTES = 1 << 20
TIMEOUT_S = 60.0


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program to run on some host. ``Command.of("uname", "-m")`` is the short way to one."""

    argv: tuple[str, ...]
    stdin: bytes | Path = b""
    """Bytes, or a file of this machine that is streamed."""
    env: dict[str, str] = {}
    """Added to what the host gives."""
    cwd: str = ""
    timeout_s: float = TIMEOUT_S
    """From its start to its end; over it the program and its process group are killed."""
    output_max_bytes: int = OUTPUT_MAX_BYTES
    """How much of each stream is kept; what comes after is read and thrown away, and the result says so."""
    secret: bool = False
    """Whether its arguments must not be shown or logged."""

    @classmethod
    def of(cls, *argv: str, stdin: bytes | Path = b"", timeout_s: float = TIMEOUT_S) -> Command:
        """A command of these words."""
        return cls(argv=argv, stdin=stdin, timeout_s=timeout_s)

    @classmethod
    def shell(cls, script: str, *arguments: str, stdin: bytes | Path = b"", timeout_s: float = TIMEOUT_S) -> Command:
        """A POSIX shell script, which sees ``arguments`` as ``$1``…: nothing is ever pasted into its text."""
        return cls(argv=("sh", "-c", script, "sh", *arguments), stdin=stdin, timeout_s=timeout_s)

    def line(self) -> str:
        """One line for a POSIX shell that runs exactly this."""
        words = [f"{name}={value}" for name, value in sorted(self.env.items())]
        run = shlex.join(["env", *words, *self.argv] if words else self.argv)
        return f"cd {shlex.quote(self.cwd)} && exec {run}" if self.cwd else f"exec {run}"

    def shown(self) -> str:
        """As people and logs may see it."""
        return f"{self.argv[0]} …" if self.secret else shlex.join(self.argv)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended."""

    exit_code: int
    """128 + n for a signal."""
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    """Whether a stream was longer than was kept."""

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0

    @property
    def text(self) -> str:
        """Standard output, without the last line end."""
        return self.stdout.decode(errors="replace").rstrip("\n")

    def complaint(self) -> str:
        """Its last words, for an error message: the end of standard error, or else of standard output."""
        said = (self.stderr.strip() or self.stdout.strip()).decode(errors="replace")
        return " | ".join(said.splitlines()[-3:])[-500:] or "it said nothing"
