"""The entry point: finds the command, runs it, turns every failure into one line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from skep import __version__
from skep.base.errors import SkepError
from skep.cli import exits
from skep.cli.catalog import COMMANDS, SECTIONS


class Root(click.Group):
    """Commands that are imported when they are called, listed by what they are for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found: Any = getattr(importlib.import_module(entry.module), entry.attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is not a command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], list(COMMANDS), n=1)
            hint = f": did you mean `skep {near[0]}`?" if near else ": see `skep --help`"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.line) for name, entry in section.items()], col_max=14)


@click.group(cls=Root, epilog=exits.EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="skep %(version)s")
def skep() -> None:
    """Skep, the cloud that people own: keeps your files in all the storage that you have.

    Paths on the hive are absolute and start with /. Start with:

    \b
      skep up                                 a hive on this machine
      skep login http://127.0.0.1:8080
      skep put ~/Pictures /Pictures
      skep ls -l /Pictures
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line; prints errors as one line on standard error and gives the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    as_json = "--json" in given
    try:
        outcome = skep.main(args=given, prog_name="skep", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else exits.DONE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SkepError as error:
        _report(error.message, error.code, dict(error.details), as_json)
        return exits.exit_code(error)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return exits.USAGE
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "skep"
        hint = "" if "--help" in error.format_message() else f" (see `{where} --help`)"
        _report(error.format_message().rstrip(".") + hint, "usage", {}, as_json)
        return exits.USAGE if isinstance(error, click.UsageError) else exits.FAILED
    except (KeyboardInterrupt, click.exceptions.Abort):
        print(file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:
        _forget_standard_output()
        return exits.PIPE_CLOSED
    except SystemExit as stop:
        if stop.code == 1:  # click's answer to a closed pipe; nothing else of ours exits like this
            return exits.PIPE_CLOSED
        raise
    except OSError as error:
        what = f"{error.filename}: " if error.filename is not None else ""
        _report(f"{what}{error.strerror or error}", "system", {}, as_json)
        return exits.FAILED
    except Exception as error:
        if os.environ.get("SKEP_DEBUG"):
            raise
        said = f"{type(error).__name__}: {error}".split("\n")[0]
        _report(f"internal error, {said}; with SKEP_DEBUG=1 it shows where: please report it", "internal", {}, as_json)
        return exits.FAILED


def main() -> NoReturn:
    """The ``skep`` program."""
    sys.exit(run())


def _report(message: str, code: str, details: dict[str, object], as_json: bool) -> None:
    if as_json:
        text = json.dumps({"error": {"code": code, "message": message, "details": details}}, default=str)
    else:
        text = f"skep: {' '.join(message.splitlines())}"
    print(text, file=sys.stderr)


def _forget_standard_output() -> None:
    """Keep the interpreter from flushing into a closed pipe at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
