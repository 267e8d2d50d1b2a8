"""The settings that a running hive has, each with where it came from, for administrators."""

from __future__ import annotations

from skep.base.errors import InvalidSetting
from skep.base.settings import Explained, Settings, explain, setting_specs

AT_START = "given at the start"
"""On the command line; or its file or variable has changed since the hive was started."""


def shown_settings(settings: Settings) -> list[Explained]:
    """Each setting in force, secrets hidden. The source is what the files and the environment say now."""
    try:
        now = {known.key: known for known in explain()}
    except InvalidSetting:
        now = {}
    shown = []
    for key, spec in setting_specs().items():
        group = getattr(settings, spec.section) if spec.section else settings
        value = getattr(group, spec.name)
        if spec.secret and value:
            value = "(hidden)"
        known = now.get(key)
        source = known.source if known is not None and known.value == value else AT_START
        shown.append(Explained(key, value, source))
    return shown
