"""``skep up|down|status|serve``: a hive on this machine."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import click

from skep.base.errors import InvalidSetting
from skep.cli.block_options import with_block_options
from skep.cli.exits import DONE, UNAVAILABLE
from skep.cli.options import with_output
from skep.cli.output import Output, human_size, human_time, shown, table

if TYPE_CHECKING:
    from skep.base.settings import Settings
    from skep.cli.background import Background, Running

READY_S = 60.0
STOP_EXTRA_S = 15.0
P = ParamSpec("P")
R = TypeVar("R")


def with_place(command: Callable[Concatenate[Output, dict[str, object], P], R]) -> Callable[P, R]:
    """Add the options that say where the hive is and listens; the command gets the settings that they give."""

    @click.option("--data-dir", type=click.Path(path_type=str), help="Where the hive keeps what it knows.")
    @click.option("--host", help="The address to listen on; 0.0.0.0 is every interface.")
    @click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on.")
    @click.option("--sftp-port", type=click.IntRange(0, 65535), help="The port for SFTP; 0 is no SFTP.")
    @click.option(
        "--tls", metavar="CERT,KEY", help="Serve TLS with these PEM files, or with one that is 'self-signed'."
    )
    @click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting (repeatable).")
    @functools.wraps(command)
    def outer(output: Output, /, *args: P.args, **kwargs: P.kwargs) -> R:
        data_dir, host, port = kwargs.pop("data_dir"), kwargs.pop("host"), kwargs.pop("port")
        certificate, key = _tls(cast("str | None", kwargs.pop("tls")))
        sftp_port = kwargs.pop("sftp_port")
        pairs = [_pair(str(text)) for text in cast(tuple[str, ...], kwargs.pop("settings"))]
        named = {
            "data_dir": data_dir and os.path.abspath(str(data_dir)),
            "server.host": host,
            "server.port": port,
            "server.sftp_port": sftp_port,
            "server.tls_certificate": certificate,
            "server.tls_key": key,
        }
        given = {key: value for key, value in named.items() if value is not None}
        return command(output, {**given, **dict(pairs)}, *args, **kwargs)

    return with_output(outer)


def _tls(text: str | None) -> tuple[str | None, str | None]:
    """The files of ``--tls``, absolute since the hive may run elsewhere."""
    if text is None or text == "self-signed":
        return text, None
    certificate, comma, key = text.partition(",")
    if not comma or not certificate or not key:
        raise InvalidSetting("--tls takes CERTIFICATE,KEY (two PEM files), or self-signed")
    return os.path.abspath(certificate), os.path.abspath(key)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidSetting(f"--set takes KEY=VALUE, not {text!r}")
    return key.strip(), value.strip()


def as_flags(overrides: Mapping[str, object]) -> list[str]:
    """The same settings as flags of another ``skep`` process."""
    return [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]


def _settings(overrides: Mapping[str, object]) -> Settings:
    from skep.base.settings import load_settings

    return load_settings(overrides)


def _fingerprint(settings: Settings) -> str | None:
    """That of the self-signed certificate; another needs none."""
    from skep.server.certificates import SELF_SIGNED, fingerprint

    if settings.server.tls_certificate != SELF_SIGNED:
        return None
    return fingerprint(settings.data_path() / "tls" / "certificate.pem")


def _url(settings: Settings) -> str:
    from skep.cli.background import local_url

    server = settings.server
    return local_url(server.host, server.port, tls=bool(server.tls_certificate))


@click.command()
@click.option(
    "--only",
    type=click.Choice(["events", "array", "cloud", "chunk"]),
    help="Serve live changes alone, beside the hive; or be a hive for one service alone.",
)
@with_place
@with_block_options
def serve(output: Output, overrides: dict[str, object], only: str | None) -> None:
    """Run a hive in the foreground, until SIGTERM or Ctrl-C.

    The hive keeps its metadata, its keys and its first store in one data directory (by default
    ~/.local/share/skep) and answers HTTP on 127.0.0.1:8080. `skep up` makes a new hive and starts it in
    the background; this command runs one that is there, as a service manager wants it: it logs to
    standard error, lets requests in flight finish when it is told to stop, and a second signal ends it
    at once.

    Settings come from /etc/skep/skep.toml, ~/.config/skep/skep.toml, ./skep.toml, the file that
    SKEP_CONFIG names, SKEP_* variables and these options; the later win. `skep config example` prints
    all of them with what they mean.

    \b
    Examples:
      skep serve
      skep serve --host 0.0.0.0 --port 80 --data-dir /srv/skep
      skep serve --set log.format=json --set storage.scheme='ec(4,2)'
      skep serve --only events --port 8081 --set events.fanout=postgresql
      skep serve --only array
      skep serve --debug --dummy --dummy-auth MAGICFARYDUST --port 8888
    """
    began = time.monotonic()
    gc.disable()  # a start makes many objects and no garbage; once it is ready the hive collects again
    found = _settings(overrides if only in (None, "events") else {**overrides, "server.only": only})
    from skep.server.serve import serve as run

    def announce(url: str) -> None:
        sha256 = _fingerprint(found)
        said = "" if sha256 is None else f"\nits certificate has the SHA-256 fingerprint {sha256}"
        output.value({"url": url, **({"sha256": sha256} if sha256 else {})}, f"the hive answers at {url}{said}")

    run(found, started_s=began, announce=announce, only_events=only == "events")


@click.command()
@click.option("--admin", default="admin", show_default=True, help="The name of the first account.")
@with_place
def up(output: Output, overrides: dict[str, object], admin: str) -> None:
    """Set up a hive on this machine and start it in the background.

    Makes what is missing: the data directory, the database, the master key, a first store in the data
    directory, an administrator with a password that is shown once. Safe to run again: what is there
    stays as it is, and a hive that runs is left alone.

    \b
    Examples:
      skep up
      skep up --data-dir /srv/skep --port 9000
    """
    from skep.cli.background import Background
    from skep.server.first_password import first_password, forget_first_password

    found = _settings(overrides)
    background = Background(found.data_path())
    running = background.running()
    if running is not None:
        password = first_password(found.data_path())  # of a run that was cut short before it said so
        value = {
            "url": running.url,
            "pid": running.pid,
            "started": False,
            "admin": admin if password is not None else None,
            "password": password,
        }
        text = f"the hive runs already: {running.url}"
        output.value(value, text if password is None else _greeting(running.url, admin, password, background.log_file))
        forget_first_password(found.data_path())
        return
    password = asyncio.run(_set_up(output, found, admin))
    try:
        running = _start(output, background, found, overrides)
    except BaseException:
        if password is not None:
            output.note(f"the account {admin} was made, with the password {password} (shown this once)")
            forget_first_password(found.data_path())
        raise
    value = {
        "url": running.url,
        "pid": running.pid,
        "started": True,
        "admin": admin if password is not None else None,
        "password": password,
    }
    output.value(value, _greeting(running.url, admin, password, background.log_file))
    forget_first_password(found.data_path())


def set_up_hive(output: Output, overrides: Mapping[str, object]) -> str | None:
    """Make a new hive with these settings; the first account's password."""
    return asyncio.run(_set_up(output, _settings(overrides), "admin"))


async def _set_up(output: Output, settings: Settings, admin: str) -> str | None:
    """Make what is missing of the hive, a line for each step; the first account's password if it was made now."""
    from skep.base.clock import SystemClock
    from skep.base.logs import configure_logs
    from skep.base.settings import LogSettings
    from skep.server.setup import set_up

    configure_logs(LogSettings(level="warning", format="auto", requests="none"))  # standard output is the result's
    password = None
    async for step in set_up(settings, clock=SystemClock(), admin_name=admin):
        output.step(f"[{step.number}/{step.of}] {step.text}" + ("" if step.changed else ": there already"))
        password = step.secret or password
    return password


def _start(output: Output, background: Background, settings: Settings, overrides: Mapping[str, object]) -> Running:
    from skep.cli.background import Running

    url = _url(settings)
    # -P: a file of that name in the working directory must not become the program
    command = [sys.executable, "-P", "-m", "skep.cli.main", "serve", "--quiet", *as_flags(overrides)]
    process = background.start(command, url)
    background.wait_ready(process, url, READY_S)
    return Running(process.pid, url)


def _greeting(url: str, admin: str, password: str | None, log_file: Path) -> str:
    lines = [f"the hive is up: {url}", f"its log is      {log_file}"]
    if password is not None:
        lines += [
            "",
            f"  name      {admin}",
            f"  password  {password}",
            "",
            "The password is shown this once: keep it.",
        ]
    return "\n".join([*lines, "", "Next:", *_activation(), f"  skep login {url}"])


def _activation() -> list[str]:
    """The line that makes ``skep`` a word of the shell, if this program's environment is not active."""
    script = Path(sys.prefix) / "bin" / "activate"
    if shutil.which("skep") or not script.exists():
        return []
    near = os.path.relpath(script)
    return [f"  . {shlex.quote(str(script) if near.startswith('..') else near)}"]


@click.command()
@with_place
def down(output: Output, overrides: dict[str, object]) -> None:
    """Stop the hive that `skep up` started.

    Requests in flight may finish (`skep config explain server.stop_grace_s`). Nothing is deleted.
    """
    from skep.cli.background import Background

    found = _settings(overrides)
    stopped = Background(found.data_path()).stop(found.server.stop_grace_s + STOP_EXTRA_S)
    output.value({"stopped": stopped}, "the hive is down" if stopped else "no hive was running")


@click.command()
@with_place
def status(output: Output, overrides: dict[str, object]) -> int:
    """Say whether the hive on this machine runs, and how it is.

    Exits with 0 if it is ready and with 6 if not. Who is logged in to it as an administrator is told
    more: stores, counts, background work that fails.
    """
    from skep.cli.background import Background, ready

    found = _settings(overrides)
    running = Background(found.data_path()).running()
    url = running.url if running else _url(found)
    well = ready(url)
    more = _inside(url) if well else None
    value = {"url": url, "pid": running.pid if running else None, "ready": well, "hive": more}
    state = "ready" if well else "running, not ready" if running else "not running"
    output.value(value, lambda: "\n".join([f"{url}: {state}", *_details(more or {})]))
    return DONE if well else UNAVAILABLE


def _inside(url: str) -> dict[str, Any] | None:
    """What the hive tells its administrators, if one is logged in here."""
    from skep.base.errors import SkepError
    from skep.cli.connecting import open_hive
    from skep.cli.credentials import CredentialFile, credentials_path

    try:
        if url not in CredentialFile(credentials_path()).read().hives:
            return None
        with open_hive(url) as hive:
            return hive.administration.status()
    except SkepError:
        return None


def _details(status: Mapping[str, Any]) -> list[str]:
    if not status:
        return []
    unwell = [f"{store['name']} ({store['error']})" for store in status["stores"] if not store["healthy"]]
    failing = [f"{worker['name']} ({worker['last_error']})" for worker in status["workers"] if worker["failures"]]
    stores = len(status["stores"])
    lines = [f"version {status['version']}, scheme {status['scheme']}, {stores} store{'s' if stores != 1 else ''}"]
    lines += [f"store not well: {shown(text)}" for text in unwell]
    lines += [f"worker failing: {shown(text)}" for text in failing]
    lines += _certificate(status.get("certificate"))
    facts = [
        [key.removesuffix("_bytes").replace("_", " "), _fact(key, value)] for key, value in status["facts"].items()
    ]
    return [*lines, table(["", ""], facts)]


def _certificate(told: Mapping[str, Any] | None) -> list[str]:
    if told is None:
        return []
    lines = [f"certificate {told['sha256']}, until {human_time(told['ends_us'])}"]
    return [*lines, f"new certificate is not taken: {shown(told['trouble'])}"] if told["trouble"] else lines


def _fact(key: str, value: Any) -> str:
    return human_size(value) if key.endswith("_bytes") and isinstance(value, int) else shown(str(value))
