"""Passwords that a command asks for: hidden on a terminal, or one on each line of standard input."""

from __future__ import annotations

import sys

import click

from skep.base.errors import BadInput

PASSWORD_MAX = 4096

stdin_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


def asked_name() -> str:
    """Who somebody is. Raises BadInput without a terminal to ask on."""
    _need_terminal()
    answer: str = click.prompt("User", err=True)
    return answer


def asked_code() -> str:
    """A code of a second factor. Raises BadInput without a terminal to ask on."""
    if not sys.stdin.isatty():
        raise BadInput("the account has a second factor, and there is no terminal to ask on: give --code")
    answer: str = click.prompt("Code of your authenticator app, or a recovery code", err=True)
    return answer


def password(from_stdin: bool, prompt: str = "Password") -> str:
    """A password that is there already. Raises BadInput when standard input has none."""
    if from_stdin:
        return _line()
    _need_terminal()
    answer: str = click.prompt(prompt, hide_input=True, err=True)
    return answer


def new_password(from_stdin: bool) -> str:
    """A password to be set, asked for twice on a terminal. Raises BadInput when standard input has none."""
    if from_stdin:
        return _line()
    _need_terminal()
    answer: str = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _need_terminal() -> None:
    if not sys.stdin.isatty():
        raise BadInput("there is no terminal to ask on: give the name as an option, and --password-stdin")


def _line() -> str:
    text = sys.stdin.readline(PASSWORD_MAX).rstrip("\r\n")
    if not text:
        raise BadInput("standard input has no password where one is read: write each on a line of its own")
    return text
