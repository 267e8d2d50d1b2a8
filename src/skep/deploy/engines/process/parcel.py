"""The host's half of the process engine as one archive that Python runs."""

from __future__ import annotations

import functools
import io
import zipfile
from importlib.resources import files

from skep.crypto.hashing import digest

_NAMES = (
    "__init__.py",
    "processes.py",
    "probes.py",
    "output.py",
    "supervising.py",
    "verbs.py",
    "streams.py",
    "serving.py",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


@functools.cache
def parcel() -> tuple[str, bytes]:
    """Its name, which comes from its content, and its bytes, which are the same for the same program."""
    source = files("skep.deploy.engines.process") / "skephost"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _NAMES:
            archive.writestr(zipfile.ZipInfo(f"skephost/{name}", _EPOCH), (source / name).read_bytes())
        archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), (source / "__main__.py").read_bytes())
    content = packed.getvalue()
    return f"helper-{digest(content).hex()[:16]}", content
