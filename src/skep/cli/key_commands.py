"""``skep key``: the master key of a hive on this machine, and the key that signs tokens."""

from __future__ import annotations

from pathlib import Path

import click

from skep.base.errors import KeyMissing
from skep.cli.options import with_hive, with_output
from skep.cli.output import Output
from skep.client.hive import Hive


@click.group()
def key() -> None:
    """The master key of a hive on this machine, and the key that signs its tokens.

    Without the master key nothing in the stores can be read, by anybody, ever: keep a copy somewhere else.
    """


@key.command("backup")
@click.option("--file", "path", type=click.Path(path_type=Path), help="The key's file (default: by the settings).")
@click.option("--to", type=click.Path(path_type=Path), help="Write it to this new file, mode 0600, instead.")
@with_output
def key_backup(output: Output, path: Path | None, to: Path | None) -> None:
    """Print the master key as text, to be kept elsewhere.

    Keep it away from the hive: whoever has it and the stores can read everything. `skep recover
    --master-key FILE` takes a file with this text.

    \b
    Examples:
      skep key backup                       to write down or print
      skep key backup --to /media/usb/hive.key
    """
    from skep.base.settings import load_settings
    from skep.crypto.keys import MasterKey

    place = path or load_settings().master_key_path()
    if not place.exists():
        raise KeyMissing(f"there is no master key at {place}: name its file with --file")
    master = MasterKey.from_file(place)
    if to is not None:
        if to.exists():
            raise click.UsageError(f"{to} is there already: name a new file")
        master.write_file(to)
        output.value({"file": str(to)}, f"the master key is in {to}: keep it away from the stores")
        return
    output.note("whoever has this and the stores can read everything:")
    output.value({"master_key": master.text()}, master.text())


@key.command("rotate")
@with_hive
def key_rotate(output: Output, hive: Hive) -> None:
    """Sign access tokens with a new key from now on (administrators).

    Tokens that were given out stay good until they expire, a few minutes later; nobody has to log in
    again. The hive does this by itself now and then; the master key is not touched.
    """
    key_id = hive.administration.rotate_signing_key()
    output.value({"key_id": key_id}, lambda: f"access tokens are signed with the key {key_id} now")
