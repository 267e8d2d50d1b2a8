"""Paths on the hive as commands take them."""

from __future__ import annotations

from skep.base.errors import BadInput, InvalidPath, SpaceNotFound
from skep.client.files import Files
from skep.client.trees import join

SPACE_HELP = "Which space: its name or id (default: your own)."


def hive_path(text: str) -> str:
    """A path of the hive in its plain form: absolute, no empty, ``.`` or ``..`` segments. Raises InvalidPath."""
    if not text.startswith("/"):
        raise InvalidPath(f"{text!r} is not a path on the hive: those start with /")
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names:
        raise InvalidPath(f"{text!r} has '..' in it: write the path without")
    return "/" + "/".join(names)


def name_of(path: str) -> str:
    """The last name of a hive path. Raises BadInput for the root."""
    name = path.rpartition("/")[2]
    if not name:
        raise BadInput("the root of a space cannot be used here: name something in it")
    return name


def wants_inside(text: str) -> bool:
    """Whether a destination is written as a directory to put things in: it ends with ``/``, ``.`` or ``..``."""
    return text in (".", "..") or text.endswith(("/", "/.", "/.."))


def target_inside(files: Files, text: str, name: str, space: str | None) -> str:
    """Where ``name`` goes when moved or copied to ``text``: into it if it is (written as) a directory."""
    path = hive_path(text)
    if path == "/" or wants_inside(text):
        return join(path, name)
    node = files.find(path, space=space)
    return join(path, name) if node is not None and node.is_directory else path


def space_id(files: Files, text: str | None) -> str | None:
    """The id of a space that is named by its name or id; None for the own one. Raises SpaceNotFound."""
    if text is None:
        return None
    spaces = files.spaces()
    found = [space["id"] for space in spaces if text == space["id"]]
    found = found or [space["id"] for space in spaces if space["name"].casefold() == text.casefold()]
    if not found:
        known = ", ".join(sorted(space["name"] for space in spaces))
        raise SpaceNotFound(f"there is no space {text!r} for you: there are {known}")
    if len(found) > 1:
        raise BadInput(f"several spaces are called {text!r}: give the id")
    space: str = found[0]
    return space
