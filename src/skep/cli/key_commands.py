"""``skep key``: the master key of a hive on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from skep.base.errors import KeyMissing
from skep.cli.options import with_output
from skep.cli.output import Output


@click.group()
def key() -> None:
    """The master key of a hive on this machine.

    Without it nothing in the stores can be read, by anybody, ever: keep a copy somewhere else.
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
