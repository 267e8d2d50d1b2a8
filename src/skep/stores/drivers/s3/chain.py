"""The standard chain of AWS credentials, for stores without a secret of their own.

1. The variables ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``.
2. The profile ``AWS_PROFILE`` (default: ``default``) of ``~/.aws/credentials``, or of the file that
   ``AWS_SHARED_CREDENTIALS_FILE`` names.
3. What the library asks by itself: a web identity, the container's or the machine's role.

Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers". Profiles that name a role or a single
sign-on are not followed.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from skep.base.errors import StoreRefused
from skep.stores.drivers.s3.config import S3Keys

FILE_MAX_BYTES = 1 << 20


def keys_of_chain(environ: Mapping[str, str] | None = None) -> S3Keys | None:
    """The keys that steps 1 and 2 find; None leaves it to step 3. Raises StoreRefused for a broken file."""
    env = os.environ if environ is None else environ
    key_id, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return S3Keys(key_id, secret, env.get("AWS_SESSION_TOKEN") or None)
    home = Path(env.get("HOME") or "/nonexistent")
    path = Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    return _of_profile(path, env.get("AWS_PROFILE") or "default")


def _of_profile(path: Path, profile: str) -> S3Keys | None:
    try:
        with path.open() as file:
            text = file.read(FILE_MAX_BYTES)
    except OSError:
        return None
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        raise StoreRefused(f"{path} does not parse: write [profile] and name = value lines") from None
    if not parser.has_section(profile):
        return None
    section = parser[profile]
    key_id, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    return S3Keys(key_id, secret, section.get("aws_session_token")) if key_id and secret else None
