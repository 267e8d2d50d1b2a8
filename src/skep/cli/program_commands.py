"""``skep version`` and ``skep completion``."""

from __future__ import annotations

import platform

import click

from skep import __version__
from skep.cli.options import with_output
from skep.cli.output import Output


@click.command()
@with_output
def version(output: Output) -> None:
    """Print the version."""
    facts = {"version": __version__, "python": platform.python_version()}
    output.value(facts, f"skep {__version__} (Python {facts['python']})")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@with_output
def completion(output: Output, shell: str) -> None:
    """Print a completion script for a shell.

    \b
    Examples:
      skep completion bash > ~/.local/share/bash-completion/completions/skep
      skep completion zsh > "${fpath[1]}/_skep"
      skep completion fish > ~/.config/fish/completions/skep.fish
    """
    from click.shell_completion import get_completion_class

    from skep.cli.main import skep

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(skep, {}, "skep", "_SKEP_COMPLETE").source()
    output.value({"shell": shell, "script": script}, script)
