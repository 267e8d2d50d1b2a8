"""``skep stack``: stack files, and stacks on this machine; those at HQ are in ``stack_hq_commands``."""

from __future__ import annotations

from pathlib import Path

import click

from skep.base.errors import BadInput, InvalidStack, LocalFailure
from skep.cli.exits import DONE, FAILED
from skep.cli.options import with_output
from skep.cli.output import Output, shown, table
from skep.cli.stack_hq_commands import COMMANDS as AT_HQ
from skep.cli.stack_local_commands import COMMANDS as HERE

_FILE_MAX_BYTES = 2 << 20


@click.group()
def stack() -> None:
    """Stacks: what a quarry.yml declares, here and at HQ."""


for _command in (*HERE, *AT_HQ):
    stack.add_command(_command)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_MAX_BYTES).decode()
    except OSError as error:
        raise LocalFailure(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is no UTF-8 text") from None


@stack.command("check")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--name", help="The name of the stack (default: the directory's).")
@with_output
def stack_check(output: Output, directory: Path, name: str | None) -> int:
    """Say what is wrong with a quarry.yml, or what it declares.

    It is the one of DIRECTORY, which is this one unless it is given. Exits with 1 when anything is wrong.
    """
    from skep.deploy.stack.crossing import build_order, check_tree
    from skep.deploy.stack.reader import FILE_NAME, read_stack

    called = name or directory.resolve().name.lower().replace("_", "-").replace(".", "-").strip("-") or "stack"
    try:
        found = read_stack(_read(directory / FILE_NAME), called)
        build_order(found, directory)
        complaints = [{"message": text} for text in check_tree(found, directory)]
    except InvalidStack as error:
        given = error.details.get("problems")
        complaints = list(given) if isinstance(given, list) and given else [{"message": error.message}]
        output.value({"ok": False, "problems": complaints}, error.message)
        return FAILED
    jobs = [{"name": job.name, "type": job.kind, "scale": job.scale, "line": job.line} for job in found.jobs]
    if complaints:
        text = "\n".join(f"{FILE_NAME}: {complaint['message']}" for complaint in complaints)
        output.value({"ok": False, "problems": complaints}, text)
        return FAILED
    rows = [[shown(job.name), job.kind, str(job.scale), shown(", ".join(job.domains))] for job in found.jobs]
    value = {"ok": True, "stack": found.name, "jobs": jobs, "problems": []}
    output.value(value, lambda: table(["job", "type", "scale", "domains"], rows))
    return DONE


@stack.command("example")
@click.argument("which", type=click.Choice(["small", "classic", "all"]), default="small")
@with_output
def stack_example(output: Output, which: str) -> None:
    """Print an annotated stack file.

    The smallest, one in the old words (classic), or one with every key (all).
    """
    from skep.deploy.stack.manual import example

    text = example(which)
    output.value({"text": text}, text.rstrip("\n"))


@stack.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_output
def stack_import(output: Output, file: Path) -> None:
    """Print a stack file made from a Procfile or a Compose file.

    What could not be said is told on standard error.
    """
    from skep.deploy.stack.importing import import_compose, import_procfile

    made = (import_procfile if file.name.startswith("Procfile") else import_compose)(_read(file))
    for note in made.notes:
        output.note(note)
    output.value({"text": made.text, "notes": made.notes}, made.text.rstrip("\n"))
