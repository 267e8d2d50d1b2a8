"""The options of a block server, as flags of ``skep serve``: each stands for a setting of the hive."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from skep.base.errors import InvalidSetting
from skep.cli.output import Output

P = ParamSpec("P")
R = TypeVar("R")
LEVELS = ("debug", "info", "warning", "error")
_SETTINGS = {
    "accounting_host": "blocks.accounting_host",
    "apisecret": "blocks.apisecret",
    "dummy_auth": "blocks.dummy_auth",
    "max_body_size": "blocks.max_body_bytes",
    "transfers": "blocks.transfers",
    "prometheus_port": "server.metrics_port",
    "local_storage": "storage.first_store",
    "address": "server.host",
    "psql_dsn": "database.url",
    "logging": "log.level",
}
_REDIS_PORT = 6379


def with_block_options(
    command: Callable[Concatenate[Output, dict[str, object], P], R],
) -> Callable[Concatenate[Output, dict[str, object], P], R]:
    """Add the flags; the command gets the settings that they give beside those of others, which go before them.

    With ``--dummy`` the data directory is a new one that is removed in the end.
    """

    @click.option("--accounting-host", metavar="URL", help="Another accounting server for the block API.")
    @click.option("--apisecret", metavar="SECRET", help="The secret shared with it; better SKEP_BLOCKS_APISECRET.")
    @click.option("--dummy-auth", metavar="TOKEN", help="A token that opens every prefix, for tests.")
    @click.option("--max-body-size", type=click.IntRange(1), help="Bytes of the block API's largest file.")
    @click.option("--transfers", type=click.IntRange(1), help="Large uploads of the block API at once.")
    @click.option("--prometheus-port", type=click.IntRange(0, 65535), help="A port that answers /metrics alone.")
    @click.option("--local-storage", metavar="DIR", help="Where a new hive has its first store.")
    @click.option("--dummy", is_flag=True, help="A new hive that forgets everything when it ends; with --debug only.")
    @click.option("--debug", is_flag=True, help="Log all there is to log.")
    @click.option("--address", metavar="HOST", help="The same as --host.")
    @click.option("--psql-dsn", metavar="URL", help="The same as --set database.url=URL.")
    @click.option("--redis-host", metavar="HOST", help="Redis that tells other processes of changes.")
    @click.option("--redis-port", type=click.IntRange(1, 65535), help=f"Its port (default {_REDIS_PORT}).")
    @click.option("--logging", type=click.Choice(LEVELS), help="The same as --set log.level=LEVEL.")
    @click.option("--asyncio", is_flag=True, help="It always does: taken, and without effect.")
    @click.option("--dummy-cache", is_flag=True, help="The cache is in memory anyway: taken, and without effect.")
    @click.option("--dummy-log", is_flag=True, help="Traffic is counted here anyway: taken, and without effect.")
    @functools.wraps(command)
    def outer(output: Output, overrides: dict[str, object], /, *args: P.args, **kwargs: P.kwargs) -> R:
        given: dict[str, Any] = {name: kwargs.pop(name) for name in (*_SETTINGS, *_OTHERS)}
        if given["local_storage"] is not None:
            given["local_storage"] = os.path.abspath(given["local_storage"])
        named = {_SETTINGS[name]: given[name] for name in _SETTINGS if given[name] is not None}
        if given["debug"]:
            named.setdefault("log.level", "debug")
        if given["redis_host"] or given["redis_port"]:
            host, port = given["redis_host"] or "localhost", given["redis_port"] or _REDIS_PORT
            named |= {"events.fanout": "redis", "events.redis_url": f"redis://{host}:{port}/0"}
        if not given["dummy"]:
            return command(output, {**named, **overrides}, *args, **kwargs)
        if not given["debug"]:
            raise InvalidSetting("Dummy backend is only allowed in debug mode: add --debug")
        with _dummy(output, {**named, **overrides}) as found:
            return command(output, found, *args, **kwargs)

    return outer


_OTHERS = ("dummy", "debug", "redis_host", "redis_port", "asyncio", "dummy_cache", "dummy_log")


@contextmanager
def _dummy(output: Output, overrides: dict[str, object]) -> Iterator[dict[str, object]]:
    """The settings of a new hive that is forgotten in the end."""
    from skep.cli.hive_commands import set_up_hive

    with tempfile.TemporaryDirectory(prefix="skep-dummy-") as place:
        output.note(f"Dummy storage path: {place}")
        found = {**overrides, "data_dir": place}
        password = set_up_hive(output, found)
        output.note(f"its administrator is admin, with the password {password}")
        yield found
