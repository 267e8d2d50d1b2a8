"""``skep config``: settings of the hive on this machine."""

from __future__ import annotations

import click

from skep.base.sizes import format_size, parse_size
from skep.cli.options import with_output
from skep.cli.output import Output, table


@click.group()
def config() -> None:
    """Settings of a hive on this machine: what is in force, what they mean."""


@config.command("show")
@click.option("--changed", is_flag=True, help="Only those that differ from their default.")
@with_output
def config_show(output: Output, changed: bool) -> None:
    """List the settings in force and where each comes from.

    \b
    Example:
      skep config show --changed
    """
    from skep.base.settings import explain

    found = [known for known in explain() if not changed or known.source != "default"]
    rows = [[known.key, _in_words(known.key, known.value), known.source] for known in found]
    output.value(
        [{"key": known.key, "value": known.value, "source": known.source} for known in found],
        lambda: table(["setting", "value", "source"], rows) or "all settings have their defaults",
    )


@config.command("explain")
@click.argument("key")
@with_output
def config_explain(output: Output, key: str) -> None:
    """Say what a setting means, takes and is.

    \b
    Example:
      skep config explain storage.scheme
    """
    import difflib

    from skep.base.errors import InvalidSetting
    from skep.base.settings import explain, setting_specs

    specs = setting_specs()
    if key not in specs:
        ends = [known for known in specs if known.rpartition(".")[2] == key]
        near = ends or difflib.get_close_matches(key, list(specs), n=1, cutoff=0.4)
        raise InvalidSetting(f"there is no setting {key}" + (f": did you mean {near[0]}?" if near else ""))
    spec = specs[key]
    now = next(known for known in explain() if known.key == key)
    value = {
        "key": key,
        "meaning": spec.meaning,
        "takes": spec.takes(),
        "default": spec.default,
        "value": now.value,
        "source": now.source,
        "variable": spec.variable,
    }
    rows = [
        ["takes", spec.takes()],
        ["default", repr(spec.default)],
        ["now", f"{now.value!r} ({now.source})"],
        ["variable", spec.variable],
    ]
    output.value(value, f"{key}: {spec.meaning}\n\n" + table(["", ""], rows))


@config.command("example")
@with_output
def config_example(output: Output) -> None:
    """Print the annotated file of all settings with their defaults.

    \b
    Example:
      skep config example > ~/.config/skep/skep.toml
    """
    from skep.base.setting_values import default_file_text

    text = default_file_text()
    output.value({"toml": text}, text.rstrip("\n"))


def _in_words(key: str, value: object) -> str:
    """A value as a settings file would have it: ``5 TB`` and not 5497558138880."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    if key.endswith("_bytes") and isinstance(value, int):
        short = format_size(value)
        return short if parse_size(short) == value else str(value)
    return f"{value:g}" if isinstance(value, float) and value == int(value) and value < 1e6 else str(value)
