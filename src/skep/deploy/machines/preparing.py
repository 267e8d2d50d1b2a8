"""Making a host ready for HQ: its public key, a user where one is wanted, and the folder for jobs.

    prepared = await prepare_host(runner, public_key, user="skep")

Safe to run twice, and after a kill at any line: what is there is left as it is. Keys of others are never touched.
"""

from __future__ import annotations

import re

import msgspec

from skep.base.errors import BadInput
from skep.deploy.machines.checking import FOLDER
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command

PREPARE_TIMEOUT_S = 60.0
KEY_LINE_MAX_CHARS = 8192
_KEY = re.compile(
    r"(ssh-[a-z0-9@.-]+|ecdsa-sha2-[a-z0-9]+|sk-[a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,3})( [^\x00-\x1f\x7f]*)?"
)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

_SCRIPT = r"""set -e
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
umask 077
user=$1 key=$2 body=$3 folder=$4 home=$HOME
if [ -n "$user" ] && [ "$user" != "$(id -un)" ]; then
    [ "$(id -u)" = 0 ] || { echo "only root can give $user a key" >&2; exit 77; }
    if ! id -u "$user" >/dev/null 2>&1; then
        useradd --create-home --shell /bin/sh "$user" 2>/dev/null || adduser -D -s /bin/sh "$user"
        passwd -l "$user" >/dev/null 2>&1 || :
        usermod -p '*' "$user" 2>/dev/null || :
        echo user
    fi
    home=$(awk -F: -v name="$user" '$1 == name { print $6 }' /etc/passwd)
    [ -n "$home" ] || { echo "$user has no home directory" >&2; exit 67; }
fi
owner=${user:-$(id -un)}
mkdir -p "$home/.ssh"
file=$home/.ssh/authorized_keys
if ! grep -qF -- "$body" "$file" 2>/dev/null; then
    new=$file.skep.$$
    trap 'rm -f "$new"' EXIT
    { [ -f "$file" ] && { cat "$file"; [ -z "$(tail -c 1 "$file")" ] || echo; }; printf '%s\n' "$key"; } > "$new"
    chmod 600 "$new"
    sync "$new" 2>/dev/null || sync
    mv -f "$new" "$file"
    echo key
fi
chmod 700 "$home/.ssh"
chmod 600 "$file"
if [ "$(id -u)" = 0 ]; then chown "$owner:" "$home/.ssh" "$file" 2>/dev/null || chown "$owner" "$home/.ssh" "$file"; fi
if [ ! -d "$folder" ]; then
    mkdir -p "$folder"
    echo folder
fi
if [ "$(id -u)" = 0 ]; then chown "$owner" "$folder"; fi
chmod 700 "$folder"
"""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What was done; False where it was there already."""

    user_made: bool
    key_added: bool
    folder_made: bool


async def prepare_host(
    runner: Runner, public_key: str, *, user: str = "", folder: str = FOLDER, timeout_s: float = PREPARE_TIMEOUT_S
) -> Prepared:
    """Let the owner of ``public_key`` (a line as in ``id_ed25519.pub``) in as ``user``, and make ``folder`` for jobs.

    ``user`` empty: as whoever we are there. Another user is made when there is none (without a password), which root
    alone can do. Raises BadInput for what is no key, HostUnavailable, TimedOut, CommandFailed.
    """
    line = key_line(public_key)
    if user and not _USER.fullmatch(user):
        raise BadInput(f"{user!r} is no name of a user: a-z, 0-9, _ and -")
    if not folder.startswith("/") or "\n" in folder or folder.rstrip("/") == "":
        raise BadInput(f"{folder!r} is no folder for jobs: name an absolute path")
    command = Command.shell(_SCRIPT, user, line, line.split(" ")[1], folder, timeout_s=timeout_s)
    done = (await runner.run(command)).text.split()
    return Prepared(user_made="user" in done, key_added="key" in done, folder_made="folder" in done)


def key_line(public_key: str) -> str:
    """The one line of a public key. Raises BadInput for anything else, a private key above all."""
    line = public_key.strip()
    if "PRIVATE KEY" in line:
        raise BadInput("this is a private key, which must stay where it is: give the .pub file beside it")
    if len(line) > KEY_LINE_MAX_CHARS or not _KEY.fullmatch(line):
        raise BadInput("this is no public key: one line as in ~/.ssh/id_ed25519.pub")
    return line
