"""``skep hq``: the place that is pushed to; who may push there, and what tells it of pushes elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from skep.base.errors import BadInput, LocalFailure
from skep.cli.hq_calling import HqCall, with_hq
from skep.cli.options import ListingGroup, with_output
from skep.cli.output import Output, shown, table

FOLDER_HELP = "HQ's folder (default: $SKEP_HQ_DIR, or ~/.local/share/skep/hq)."
_KEY_FILE_MAX_BYTES = 64 << 10
PUBLIC_KEY = click.Path(allow_dash=True, path_type=Path)


@click.group()
def hq() -> None:
    """HQ: where stacks are pushed to."""


def _folder(given: Path | None) -> Any:
    from skep.deploy.hq.folder import HqFolder, default_folder

    return HqFolder((given or default_folder()).absolute())


@hq.command("init")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help=FOLDER_HELP)
@click.option("--name", default="admin", show_default=True, help="Who you are: the first admin.")
@click.option(
    "--key", "keys", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Your public key (default: every ~/.ssh/id_*.pub).",
)  # fmt: skip
@with_output
def hq_init(output: Output, folder: Path | None, name: str, keys: tuple[Path, ...]) -> None:
    """Make an HQ on this machine, with you as its admin.

    It makes a folder with keys and settings. It needs git and no root. `skep hq serve` starts it.
    """
    import asyncio

    from skep.deploy.hq.making import make_hq

    files = keys or tuple(sorted(Path.home().glob(".ssh/id_*.pub")))
    if not files:
        raise BadInput("you have no SSH key yet: make one (ssh-keygen -t ed25519), or name one with --key FILE.pub")
    place = _folder(folder)
    asyncio.run(make_hq(place, name, [text for file in files for text in _keys_in(file)]))
    text = (
        f"HQ is made in {place.root}; {name} comes in with {', '.join(map(str, files))}.\n"
        f"Start it:            skep hq serve{_shown_folder(folder)}\n"
        "Then add servers:    skep servers add root@HOST   (or `skep servers add local`: this machine)\n"
        "And push:            git remote add skep ssh://skep@THIS-HOST:2222/STACK && git push skep main"
    )
    output.value({"folder": str(place.root), "public_key": place.public_key()}, text)


def _shown_folder(folder: Path | None) -> str:
    return f" --folder {folder}" if folder else ""


def _keys_in(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_KEY_FILE_MAX_BYTES).decode(errors="replace")
    except OSError as error:
        raise LocalFailure(f"{file} cannot be read: {error.strerror}") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@hq.command("serve")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help=FOLDER_HELP)
@click.option("--port", type=click.IntRange(0, 65_535), help="The SSH port, in place of what hq.toml says.")
@with_output
def hq_serve(output: Output, folder: Path | None, port: int | None) -> None:
    """Run the HQ of this machine in the foreground.

    SIGTERM or Ctrl-C ends it. What was pushed goes on running when HQ ends, and whatever a crash cut short is
    mended at the next start.
    """
    from skep.deploy.hq.program import serve

    def announce(ports: dict[str, int]) -> None:
        said = f"HQ takes pushes at ssh://skep@THIS-HOST:{ports['ssh']}/STACK"
        if "webhook" in ports:
            said += f" and webhooks at port {ports['webhook']}"
        output.value({"ports": ports}, said)

    serve(_folder(folder), port, announce)


@hq.command("status")
@with_hq
def hq_status(output: Output, hq: HqCall) -> None:
    """Say where HQ listens, which key servers need, and what it rents."""
    told = hq.ask("hq.status")
    machines = told.get("machines") or {}
    rented = machines and f"{machines['driver']}: {len(machines['rented'])} rented, {len(machines['types'])} types"
    rows = [
        ["ports", ", ".join(f"{name} {port}" for name, port in told["ports"].items())],
        ["branches", ", ".join(told["branches"])],
        ["stacks", str(told["stacks"])],
        ["servers", str(told["servers"])],
        ["machines", rented or "none are rented"],
        *([["price", told["price"]]] if told.get("price") else []),
        ["public key", told["public_key"]],
    ]
    output.value(told, lambda: table(["", ""], rows))


@hq.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_hq
def hq_export(output: Output, hq: HqCall, folder: Path) -> None:
    """Write what HQ knows into FOLDER on its machine.

    Readable files: stacks, servers, grid.
    The same stands in HQ's own folder, as it was a moment ago.
    """
    told = hq.ask("hq.export", folder=str(folder.absolute()))
    output.value(told, f"{told['files']} files were written to {told['folder']}")


# --- people -------------------------------------------------------------------------------------


@hq.group(cls=ListingGroup)
def user() -> None:
    """Who may push, look and administer."""


@user.command("ls")
@with_hq
def user_ls(output: Output, hq: HqCall) -> None:
    """List everybody with their roles."""
    found = hq.ask("user.ls")
    rows = [
        [shown(one["name"]), ", ".join(f"{role} of {_stacks(stack)}" for stack, role in one["roles"].items()),
         str(len(one["keys"]))] for one in found
    ]  # fmt: skip
    output.value(found, lambda: table(["name", "roles", "keys"], rows, right=["keys"]))


def _stacks(stack: str) -> str:
    return "all stacks" if stack == "*" else shown(stack)


@user.command("add")
@click.argument("name")
@click.option("--key", "keys", multiple=True, type=PUBLIC_KEY, help="A public key file; - reads one.")
@click.option(
    "--role",
    type=click.Choice(["read", "deploy", "admin"]),
    default="deploy",
    show_default=True,
    help="What they may do.",
)
@click.option("--stack", "stacks", multiple=True, help="For this stack alone; may be said again.")
@with_hq
def user_add(output: Output, hq: HqCall, name: str, keys: tuple[Path, ...], role: str, stacks: tuple[str, ...]) -> None:
    """Add somebody, or give them a role or a further key.

    \b
    skep hq user add ann --key ann.pub --role admin
    skep hq user add bob --key bob.pub --stack shop --stack blog
    """
    given = [text for file in keys for text in (_standard_input() if str(file) == "-" else _keys_in(file))]
    told = hq.ask("user.add", name=name, keys=given, role=role, stacks=list(stacks))
    output.value(told, f"{name} comes in with {len(told['keys'])} keys")


def _standard_input() -> list[str]:
    return [line.strip() for line in sys.stdin.read(_KEY_FILE_MAX_BYTES).splitlines() if line.strip()]


@user.command("rm")
@click.argument("name")
@with_hq
def user_rm(output: Output, hq: HqCall, name: str) -> None:
    """Forget somebody: their keys come in no more."""
    output.value(hq.ask("user.rm", name=name), f"{name} is forgotten")


# --- webhooks -----------------------------------------------------------------------------------


@hq.group(cls=ListingGroup)
def hook() -> None:
    """Webhooks: pushes to a repository elsewhere that deploy."""


@hook.command("ls")
@with_hq
def hook_ls(output: Output, hq: HqCall) -> None:
    """List webhooks."""
    found = hq.ask("hook.ls")
    rows = [[shown(one["stack"]), shown(one["repository"]), shown(one["branch"])] for one in found]
    output.value(found, lambda: table(["stack", "repository", "branch"], rows))


@hook.command("add")
@click.argument("stack")
@click.argument("repository")
@click.option("--branch", default="main", show_default=True, help="Pushes to this branch deploy.")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input; else HQ makes one.")
@with_hq
def hook_add(output: Output, hq: HqCall, stack: str, repository: str, branch: str, secret_stdin: bool) -> None:
    """Deploy STACK whenever REPOSITORY was pushed to.

    The repository tells it by webhook. The secret is shown once: give it to GitHub, Gitea or Forgejo with content
    type application/json.
    """
    secret = sys.stdin.readline(4096).strip() if secret_stdin else None
    told = hq.ask("hook.add", stack=stack, repository=repository, branch=branch, secret=secret)
    text = f"webhook of {stack}: http://HQ:{told['port'] or 'PORT'}{told['path']}"
    text += f"\nsecret: {told['secret']}" if told["secret"] else ""
    text += "" if told["port"] else "\nHQ listens for none yet: set [webhook] port in hq.toml and start it again"
    output.value(told, text)


@hook.command("rm")
@click.argument("stack")
@with_hq
def hook_rm(output: Output, hq: HqCall, stack: str) -> None:
    """Take the webhook of STACK away."""
    output.value(hq.ask("hook.rm", stack=stack), f"{stack} has no webhook any more")
