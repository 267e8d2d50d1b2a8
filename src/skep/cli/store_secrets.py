"""The secret of a store: from standard input, from a variable, or asked for; never from the command line or the URL."""

from __future__ import annotations

import os
import sys

import click

from skep.base.errors import BadInput

SECRET_MAX = 65_536
VARIABLE = "SKEP_STORE_SECRET"


def secret_of(key_id: str | None, from_stdin: bool) -> str | None:
    """What goes to the hive as the store's secret, or None where the store needs none.

    With a key id it is ``ID:SECRET``. Raises BadInput when standard input has none, or there is nobody to ask.
    """
    secret = _given(from_stdin)
    if key_id is None:
        return secret
    if secret is None:
        secret = asked("Secret key")
    return f"{key_id}:{secret}"


def _given(from_stdin: bool) -> str | None:
    if not from_stdin:
        return os.environ.get(VARIABLE) or None
    line = sys.stdin.readline(SECRET_MAX).rstrip("\r\n")
    if not line:
        raise BadInput("standard input has no secret: write it on a line of its own")
    return line


def asked(what: str) -> str:
    """Ask for a secret on the terminal, hidden. Raises BadInput without one."""
    if not sys.stdin.isatty():
        raise BadInput(f"there is no terminal to ask for the secret on: set {VARIABLE} or give --secret-stdin")
    answer: str = click.prompt(what, hide_input=True, err=True)
    return answer
