"""Names that engines share: ids, and the variables by which a job learns where its ports and volumes are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from skep.base.errors import BadInput
from skep.deploy.engines.records import JobSpec, Labels, Mount

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_NOT_A_VARIABLE = re.compile(r"[^A-Za-z0-9]+")


def checked_id(id: str) -> str:
    """The id of a job or volume. Raises BadInput when it could be none: ids are names of files and containers."""
    if not _ID.fullmatch(id):
        raise BadInput(f"{id[:160]!r} is no id: 1 to 128 of a-z 0-9 . _ - with a letter or digit first")
    return id


def full_argv(spec: JobSpec) -> tuple[str, ...]:
    """What is run: the words of a spec and its further arguments, which a shell's text gets at its end."""
    if spec.argv[:2] == ("sh", "-c") and len(spec.argv) == 3 and spec.args:
        return ("sh", "-c", f'{spec.argv[2]} "$@"', "sh", *spec.args)
    return spec.argv + spec.args


def variable_part(text: str) -> str:
    """What of a name may stand in the name of a variable: ``/data/db`` is ``DATA_DB``."""
    return _NOT_A_VARIABLE.sub("_", text).strip("_").upper()


def volume_variable(mount: Mount) -> str:
    """The variable that says where a job finds a volume: ``VOLUME_DATA_DB`` for ``/data/db``."""
    return f"VOLUME_{variable_part(mount.path)}"


def job_environment(
    spec: JobSpec, labels: Labels, ports: Mapping[int, int], volume_paths: Mapping[str, str]
) -> dict[str, str]:
    """All variables of a job: its spec's, and over them where its ports and volumes are and who it is.

    ``ports`` maps its own port numbers to those it must listen on, ``volume_paths`` volume names to what it sees.
    ``PORT`` is the first of its ports.
    """
    env = dict(spec.env)
    for port in spec.ports:
        env[f"PORT_{port.number}"] = str(ports[port.number])
    if spec.ports:
        env["PORT"] = str(ports[spec.ports[0].number])
    for mount in spec.mounts:
        env[volume_variable(mount)] = volume_paths[mount.volume]
    for name in ("stack", "job", "slice", "release"):
        env[f"SKEP_{name.upper()}"] = str(getattr(labels, name))
    return env
