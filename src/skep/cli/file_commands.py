"""``skep ls|cat|mkdir|rm|mv|cp``: files on the hive."""

from __future__ import annotations

import sys

import click

from skep.base.errors import BadInput
from skep.cli.options import with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.cli.places import SPACE_HELP, hive_path, name_of, space_id, target_inside
from skep.client.hive import Hive
from skep.client.records import Node

READ_BYTES = 1 << 20
space_option = click.option("--space", metavar="SPACE", help=SPACE_HELP)


@click.command()
@click.argument("path", default="/")
@click.option("-l", "--long", is_flag=True, help="Sizes, times and versions too.")
@click.option("-R", "--recursive", is_flag=True, help="All that is below, with whole paths.")
@click.option("-d", "--directory", is_flag=True, help="The directory itself, not what is in it.")
@space_option
@with_hive
def ls(output: Output, hive: Hive, path: str, long: bool, recursive: bool, directory: bool, space: str | None) -> None:
    """List a directory of the hive.

    \b
    Examples:
      skep ls -l /Pictures
      skep ls -R --json / | jq .path
    """
    place = space_id(hive.files, space)
    node = hive.files.info(hive_path(path), space=place)
    if directory or not node.is_directory:
        nodes = [node]
    elif recursive:
        nodes = list(hive.files.below(node.path, space=place))
    else:
        nodes = list(hive.files.children(node.path, space=place))
    output.value([found.raw for found in nodes], lambda: _listing(nodes, long=long, whole=recursive or directory))


def _listing(nodes: list[Node], *, long: bool, whole: bool) -> str:
    names = [
        shown((node.path if whole else node.name) + ("/" if node.is_directory and node.path != "/" else ""))
        for node in nodes
    ]
    if not long:
        return "\n".join(names)
    rows = [
        [
            human_size(node.size_bytes),
            human_time(node.modified_us),
            f"v{node.version_number}" if node.version_number else "-",
            name,
        ]
        for node, name in zip(nodes, names, strict=True)
    ]
    return table(["size", "modified", "version", "name"], rows, right=["size"])


def _shown_name(node: Node, *, whole: bool) -> str:
    name = shown(node.path if whole else node.name)
    return f"{name}/" if node.is_directory and node.path != "/" else name


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="An older version (see `skep versions`).")
@space_option
@with_hive
def cat(output: Output, hive: Hive, paths: tuple[str, ...], version: int | None, space: str | None) -> None:
    """Write a file of the hive to standard output.

    \b
    Example:
      skep cat /notes/today.md | less
    """
    place = space_id(hive.files, space)
    if output.as_json:
        raise click.UsageError("a file's content is not JSON: leave out --json")
    buffer = memoryview(bytearray(READ_BYTES))
    for path in paths:
        node = _file(hive.files.info(hive_path(path), space=place))
        response = hive.files.read(node.id, version=version)
        try:
            while count := response.readinto(buffer):
                sys.stdout.buffer.write(buffer[:count])
        finally:
            response.close()
        sys.stdout.buffer.flush()


def _file(node: Node) -> Node:
    if node.is_directory:
        raise BadInput(f"{node.path} is a directory: `skep ls` lists it, `skep get` fetches it")
    return node


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--new", is_flag=True, help="Fail if the directory is there already.")
@space_option
@with_hive
def mkdir(output: Output, hive: Hive, paths: tuple[str, ...], new: bool, space: str | None) -> None:
    """Make directories, with those above them; one that is there is fine.

    \b
    Example:
      skep mkdir /Pictures/2026/summer
    """
    place = space_id(hive.files, space)
    made = [hive.files.make_directory(hive_path(path), space=place, exist_ok=not new) for path in paths]
    output.value([node.raw for node in made])


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--permanently", is_flag=True, help="Past the trash: they are gone for good.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before deleting for good.")
@space_option
@with_hive
def rm(output: Output, hive: Hive, paths: tuple[str, ...], permanently: bool, yes: bool, space: str | None) -> None:
    """Move files and directories, with all that is in them, to the trash.

    `skep trash ls` shows the trash, `skep trash restore` brings things back.

    \b
    Examples:
      skep rm /old.txt /Pictures/blurred
      skep rm --permanently --yes /secret.txt
    """
    from skep.cli.options import confirmed

    place = space_id(hive.files, space)
    targets = [hive_path(path) for path in paths]
    if permanently:
        confirmed(f"Delete {', '.join(shown(path) for path in targets)} for good?", yes)
    for path in targets:
        hive.files.delete(path, space=place, permanently=permanently)
    output.value({"deleted": targets, "permanently": permanently})


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("target")
@click.option("-f", "--force", is_flag=True, help="Replace a file that is there (it goes to the trash).")
@space_option
@with_hive
def mv(output: Output, hive: Hive, sources: tuple[str, ...], target: str, force: bool, space: str | None) -> None:
    """Move or rename files and directories; no content is moved, versions and tags stay.

    TARGET is the new path, or a directory (one that is there, or written with a / at its end) to move
    the sources into.

    \b
    Examples:
      skep mv /a.txt /b.txt
      skep mv /a.txt /b.txt /Texts/
    """
    _relocate(output, hive, sources, target, force, space, copy=False)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("target")
@click.option("-f", "--force", is_flag=True, help="Replace a file that is there (it goes to the trash).")
@space_option
@with_hive
def cp(output: Output, hive: Hive, sources: tuple[str, ...], target: str, force: bool, space: str | None) -> None:
    """Copy files and directories inside the hive; copies share their content and take no room at rest.

    TARGET is the copy's path, or a directory (one that is there, or written with a / at its end) to copy
    the sources into.

    \b
    Example:
      skep cp /Pictures /Archive/
    """
    _relocate(output, hive, sources, target, force, space, copy=True)


def _relocate(
    output: Output,
    hive: Hive,
    sources: tuple[str, ...],
    target: str,
    force: bool,
    space: str | None,
    *,
    copy: bool,
) -> None:
    place = space_id(hive.files, space)
    into = target if len(sources) == 1 else target.rstrip("/") + "/"
    call = hive.files.copy if copy else hive.files.move
    done = []
    for source in sources:
        path = hive_path(source)
        done.append(call(path, target_inside(hive.files, into, name_of(path), place), space=place, overwrite=force))
    output.value([node.raw for node in done], lambda: "\n".join(shown(node.path) for node in done))
