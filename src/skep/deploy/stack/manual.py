"""The annotated examples: what each key means stands above it there, and nowhere else."""

from __future__ import annotations

import re
from importlib.resources import files

from skep.base.errors import NotFound
from skep.deploy.stack.reader import KEYS

EXAMPLES: tuple[str, ...] = ("small", "classic", "all")
EXAMPLE_STACK = "shop"
"""The name that the examples use for themselves."""
_KEY = re.compile(r"^  ([a-z_]+):")
_COMMENT = re.compile(r"^  # ?(.*)$")


def example(name: str) -> str:
    """The text of an example. Raises NotFound."""
    if name not in EXAMPLES:
        raise NotFound(f"there is no example {name[:40]!r}: there are {', '.join(EXAMPLES)}")
    return (files("skep.deploy.stack") / "examples" / f"{name}.yml").read_text(encoding="utf-8")


def meanings() -> dict[str, str]:
    """What each key of a job means: the comment above it in ``all.yml``, where it comes first."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in example("all").splitlines():
        said, key = _COMMENT.match(line), _KEY.match(line)
        if said:
            comment.append(said[1])
        else:
            if key and comment and key[1] in KEYS:
                found.setdefault(key[1], " ".join(comment))
            comment = []
    return found


def manual_page(written_by: str) -> str:
    """The manual as Markdown: the keys in a table, then the examples."""
    lines = [
        "# The stack file",
        written_by,
        "",
        "`quarry.yml` in the root of a repository says what runs: a map of jobs. Every key that Skep does not know is",
        "an error, told with line, column and the nearest name that it knows; `skep stack check` tells them before a",
        "push does. `skep stack import` makes such a file of a [Procfile or a Compose file](import.md).",
        "",
        "| key | of | means |",
        "|---|---|---|",
    ]
    for key, meaning in meanings().items():
        kinds = "all" if len(KEYS[key]) == 6 else ", ".join(sorted(KEYS[key]))
        lines.append(f"| `{key}` | {kinds} | {meaning.replace('|', chr(92) + '|')} |")
    titles = {
        "small": "The smallest stack",
        "classic": "A stack in the old words",
        "all": "Every key",
    }
    for name in EXAMPLES:
        lines += [
            "",
            f"## {titles[name]}",
            "",
            f"`skep stack example {name}`",
            "",
            "```yaml",
            example(name).rstrip(),
            "```",
        ]
    return "\n".join(lines) + "\n"
