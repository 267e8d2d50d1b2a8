"""From saved logins to a connected hive."""

from __future__ import annotations

from skep.cli.credentials import CredentialFile, FileKeeper, credentials_path
from skep.client.hive import Hive


def open_hive(url: str | None) -> Hive:
    """The hive that a command means, as its logged-in user. Raises Unauthenticated when there is none."""
    file = CredentialFile(credentials_path())
    login = file.chosen(url)
    return Hive.connect(login.url, FileKeeper(file, login.url), sha256=login.sha256)
