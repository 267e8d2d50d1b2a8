"""``skep get``: files and trees from the hive."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skep.base.errors import BadInput, LocalFailure
from skep.cli.exits import DONE
from skep.cli.file_commands import space_option
from skep.cli.meter import transfer_meter
from skep.cli.options import with_hive
from skep.cli.output import Output, human_size, shown
from skep.cli.places import hive_path, name_of, space_id, wants_inside
from skep.cli.report import report_transfer
from skep.client.hive import Hive
from skep.client.records import Node

if TYPE_CHECKING:
    from skep.client.downloads import Download
    from skep.client.trees import DownloadPlan
    from skep.client.work import Tally


@click.command(no_args_is_help=True)
@click.argument("source")
@click.argument("target", default=".", type=click.Path(path_type=str))
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="An older version of a file.")
@click.option("--force", is_flag=True, help="Fetch files even if they are here already.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be fetched.")
@click.option("-j", "--parallel", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at once.")
@space_option
@with_hive
def get(
    output: Output,
    hive: Hive,
    source: str,
    target: str,
    version: int | None,
    force: bool,
    dry_run: bool,
    parallel: int,
    space: str | None,
) -> int:
    """Download files and directories.

    A directory SOURCE becomes TARGET itself: what is in it is merged into TARGET, so that the same
    command run again only fetches what is missing or has changed, and goes on with partly fetched files.
    Write TARGET with a / at its end (or as . or ..) to put SOURCE into it under its own name. A file
    SOURCE becomes TARGET, or goes into it if that is a directory.

    Nothing here is deleted; a file that differs is replaced once the new one is whole. Modification
    times are kept. Nothing is ever written outside of TARGET.

    \b
    Examples:
      skep get /Pictures ./copy             the tree; again to resume or update
      skep get /Pictures .                  as ./Pictures
      skep get /a.txt old.txt --version 3
    """
    return fetch_tree(
        output, hive, source, target, version=version, force=force, dry_run=dry_run, parallel=parallel, space=space
    )


def fetch_tree(
    output: Output,
    hive: Hive,
    source: str,
    target: str | Path,
    *,
    version: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    parallel: int = 8,
    space: str | None = None,
) -> int:
    """Fetch a file or tree, and say how it went; the exit code."""
    from skep.client.downloads import Download, local_states, remote_tree
    from skep.client.trees import plan_download, relative_path

    began = time.monotonic()
    place = space_id(hive.files, space)
    top = hive.files.info(hive_path(source), space=place)
    root = _root(top, str(target))
    download = Download(hive.files, root, place, cancel=hive.cancel, threads=parallel, version=version)
    if version is not None:
        top = _of_version(hive, top, version)
    nodes = remote_tree(download, top)
    relatives = [path for node in nodes if (path := relative_path(top.path, node.path)) is not None]
    plan = plan_download(top.path, nodes, local_states(root, relatives), force=force)
    if dry_run:
        fetched = [{"path": fetch.node.path, "size_bytes": fetch.node.size_bytes} for fetch in plan.files]
        lines = [shown(fetch.node.path) for fetch in plan.files]
        summary = f"{len(lines)} files, {human_size(plan.size_bytes)}; {len(plan.unchanged)} unchanged"
        output.value({"files": fetched, "unchanged": len(plan.unchanged)}, "\n".join([*lines, summary]))
        return DONE
    try:
        tally = _fetch(output, download, plan)
    except KeyboardInterrupt:
        output.note("\ninterrupted: the same command again goes on from here")
        raise
    return report_transfer(output, "got", tally, (), time.monotonic() - began)


def _fetch(output: Output, download: Download, plan: DownloadPlan) -> Tally:
    from dataclasses import replace

    from skep.client.downloads import run_download

    with transfer_meter(output, "get", files=len(plan.files), size_bytes=plan.size_bytes) as meter:
        return run_download(replace(download, progress=meter), plan)


def _root(top: Node, target: str) -> Path:
    """Where ``top`` itself goes."""
    path = Path(target)
    if wants_inside(target):
        path.mkdir(parents=True, exist_ok=True)
    if wants_inside(target) or (not top.is_directory and path.is_dir()):
        name = name_of(top.path) if top.path != "/" else ""
        path = path / name
    if top.is_directory and path.exists() and not path.is_dir():
        raise LocalFailure(f"{path} is a file here, and {top.path} is a directory")
    if not top.is_directory:
        if not path.parent.is_dir():
            raise LocalFailure(f"there is no directory {path.parent}: make it first")
        if path.is_dir():
            raise LocalFailure(f"{path} is a directory here, and {top.path} is a file")
    return Path(os.path.abspath(path))


def _of_version(hive: Hive, node: Node, number: int) -> Node:
    """The file as it was in one of its versions."""
    from skep.base.errors import VersionNotFound
    from skep.client.records import read_node

    if node.is_directory:
        raise BadInput(f"{node.path} is a directory: only files have versions")
    for version in hive.files.versions(node.id):
        if version["number"] == number:
            shared = ("size_bytes", "etag", "mime", "modified_us", "md5", "sha1", "sha256")
            return read_node({**node.raw, **{name: version[name] for name in shared}, "version_number": number})
    raise VersionNotFound(f"{node.path} has no version {number}: `skep versions {node.path}` lists them")
