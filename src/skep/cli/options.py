"""Options that many commands share, as decorators that hand over what they mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

from skep.base.errors import InvalidSize
from skep.cli.output import Output

if TYPE_CHECKING:
    from skep.client.hive import Hive

_LISTING_OPTIONS = frozenset({"--json", "-q", "--quiet", "--hive", "--space"})
P = ParamSpec("P")
R = TypeVar("R")


class ListingGroup(click.Group):
    """A group of which ``ls`` is meant when no command is named: ``skep store`` is ``skep store ls``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] in _LISTING_OPTIONS:
            args = ["ls", *args]
        return super().parse_args(ctx, args)


def with_output(command: Callable[Concatenate[Output, P], R]) -> Callable[P, R]:
    """Add ``--json`` and ``--quiet``; the command gets an Output first."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress.")
    @functools.wraps(command)
    def outer(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json, quiet = bool(kwargs.pop("as_json")), bool(kwargs.pop("quiet"))
        return command(Output(as_json, quiet), *args, **kwargs)

    return outer


def with_hive(command: Callable[Concatenate[Output, Hive, P], R]) -> Callable[P, R]:
    """Add ``--hive``, ``--json`` and ``--quiet``; the command gets an Output and a Hive first."""

    @click.option(
        "--hive", "hive_url", envvar="SKEP_HIVE", metavar="URL", help="Which hive, when logged in to several."
    )
    @functools.wraps(command)
    def outer(output: Output, /, *args: P.args, **kwargs: P.kwargs) -> R:
        from skep.cli.connecting import open_hive

        hive_url = kwargs.pop("hive_url")
        with open_hive(str(hive_url) if hive_url else None) as hive:
            return command(output, hive, *args, **kwargs)

    return with_output(outer)


def confirmed(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone; ``--yes`` answers. Raises click.Abort on no."""
    if not yes:
        click.confirm(question, abort=True, err=True)


class Size(click.ParamType[int]):
    """``1500``, ``10GB``, ``1.5 TiB``: bytes, as the hive's settings write them."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from skep.base.sizes import parse_size

        try:
            return value if isinstance(value, int) else parse_size(str(value))
        except InvalidSize as error:
            self.fail(error.message, param, ctx)


SIZE = Size()
