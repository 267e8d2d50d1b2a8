"""Writes the reference pages from the code, so that they cannot drift from it.

    make docs                           write docs/settings.md, errors.md, cli.md, api.md and the table of events.md
    python docs/reference.py --check    say which of them is not what the code says

Each page is a function from the code to text; ``PAGES`` lists them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from skep.base.durations import duration_text
from skep.base.errors import SkepError
from skep.base.setting_values import SettingSpec
from skep.base.settings import setting_specs
from skep.base.sizes import format_size

DOCS = Path(__file__).resolve().parent
WRITTEN_BY = "<!-- Written by `make docs` from the code: change it there. -->"


def settings_page() -> str:
    """Every setting with its variable, what it takes, its default and its meaning."""
    lines = [
        "# Settings",
        WRITTEN_BY,
        "",
        "Settings come from, later ones win: the defaults below, `/etc/skep/skep.toml`, `~/.config/skep/skep.toml`,",
        "`./skep.toml`, the file that `SKEP_CONFIG` names, `SKEP_*` variables, flags. `skep config show` says what is",
        "in force and from where. The annotated file to copy from is `src/skep/base/settings.toml`.",
    ]
    section = None
    for spec in setting_specs().values():
        if spec.section != section:
            section = spec.section
            lines += ["", f"## [{section}]" if section else "## At the top"]
        lines += ["", f"### `{spec.key}`", "", spec.meaning, "", f"- takes {spec.takes()}"]
        lines += ["- only as a variable, never in a file"] if spec.environment_only else []
        lines += [f"- default: {_default(spec)}", f"- variable: `{spec.variable}`"]
    return "\n".join(lines) + "\n"


def _default(spec: SettingSpec) -> str:
    value = spec.default
    if value in ("", ()):
        return "empty"
    if spec.kind == "size" and isinstance(value, int) and value:
        return f"`{value}` ({format_size(value)})"
    if spec.kind == "duration" and isinstance(value, float):
        return f"`{duration_text(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def errors_page() -> str:
    """The error tree with codes, HTTP status and whether retrying can help."""
    from skep.frontends.api.errors import status_of

    lines = [
        "# Errors",
        WRITTEN_BY,
        "",
        "Every deliberate failure has a stable code. The API gives it as `code` in RFC 9457 problem details",
        "(`application/problem+json`), the command line with `--json`, the log as a field. A code below another",
        "is a special case of it; *retry* says that the same call can succeed later.",
        "",
        "| code | HTTP | retry | meaning |",
        "|---|---|---|---|",
    ]
    for depth, error in _error_tree(SkepError, 0):
        meaning = " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())
        indent = "&nbsp;&nbsp;" * depth
        status = status_of(error("")) if depth else 500
        lines.append(
            f"| {indent}`{error.code}` | {status} | {'yes' if error.retryable else ''} | {meaning.replace('|', ' ')} |"
        )
    return "\n".join(lines) + "\n"


def _error_tree(error: type[SkepError], depth: int) -> Iterator[tuple[int, type[SkepError]]]:
    yield depth, error
    for child in error.__subclasses__():
        if child.__module__ == SkepError.__module__:
            yield from _error_tree(child, depth + 1)


def cli_page() -> str:
    """Every command with its help."""
    from skep.cli.catalog import SECTIONS
    from skep.cli.main import skep

    lines = ["# Command line", WRITTEN_BY, "", "`skep --help` and `skep COMMAND --help` say the same."]
    for title, section in SECTIONS.items():
        lines += ["", f"## {title}"]
        for name in section:
            lines += _command_lines(skep, name, "skep")
    return "\n".join(lines) + "\n"


def _command_lines(group: click.Group, name: str, parent: str) -> Iterator[str]:
    with click.Context(group, info_name=parent) as context:
        command = group.get_command(context, name)
    if command is None or command.hidden:
        return
    path = f"{parent} {name}"
    form = {"terminal_width": 100, "max_content_width": 100, "help_option_names": ["-h", "--help"]}
    with click.Context(command, info_name=path, **form) as context:
        yield from ("", f"### `{path}`", "", "```text", command.get_help(context).rstrip(), "```")
        children = command.list_commands(context) if isinstance(command, click.Group) else []
    for child in children:
        assert isinstance(command, click.Group)
        yield from _command_lines(command, child, path)


def api_page() -> str:
    """Every operation of the JSON API."""
    from skep.frontends.api.app import all_operations
    from skep.frontends.api.operation import Operation, signature_of

    by_tag: dict[str, list[Operation]] = {}
    for operation in all_operations():
        by_tag.setdefault(operation.tag, []).append(operation)
    lines = [
        "# JSON API",
        WRITTEN_BY,
        "",
        "The same as OpenAPI is served by every hive. Credentials: `Authorization: Bearer TOKEN`, or Basic with a name",
        "and an app password. Errors are problem details, see [errors](errors.md).",
    ]
    for tag, listed in by_tag.items():
        lines += ["", f"## {tag}"]
        for operation in listed:
            signature = signature_of(operation)
            lines += ["", f"### {operation.method} `{operation.path}`", "", f"{operation.summary}."]
            lines += ["", operation.description] if operation.description else []
            lines += ["", *_operation_facts(operation, signature)]
    return "\n".join(lines) + "\n"


def _operation_facts(operation: Any, signature: Any) -> Iterator[str]:
    who = "anyone" if operation.scope is None else f"scope `{operation.scope}`"
    yield f"- who: {who}{', administrators only' if operation.admin else ''}"
    if signature.query is not None:
        yield f"- query: {', '.join(_fields(signature.query))}"
    if signature.body is not None:
        yield f"- body: JSON: {', '.join(_fields(signature.body)) or 'see OpenAPI'}"
    if operation.takes:
        yield f"- body: {', '.join(f'`{kind}`' for kind in operation.takes)}, streamed"
    if operation.gives:
        yield f"- answer: {', '.join(f'`{kind}`' for kind in operation.gives)}, streamed"
    elif signature.answer is not None:
        yield f"- answer: JSON: {', '.join(_fields(signature.answer)) or 'see OpenAPI'}"
    yield f"- status: {', '.join(str(status) for status in (operation.status, *operation.also))}"


def _fields(kind: Any) -> list[str]:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    return [f"`{field.encode_name}`{'' if field.required else '?'}" for field in msgspec.structs.fields(kind)]


def events_page() -> str:
    """The page as it is, with its tables as the code has them."""
    from skep.events.records import Event
    from skep.frontends.live.messages import CLOSE_CODES, Received, Sent

    page = (DOCS / "events.md").read_text()
    of_messages = "| type | meaning | fields |\n|---|---|---|\n"
    page = _with_table(page, of_messages, _message_rows(Sent), after="From the hive:")
    page = _with_table(page, of_messages, _message_rows(Received), after="From the client")
    codes = [f"| {code} | {meaning} |" for code, meaning in CLOSE_CODES.items()]
    page = _with_table(page, "| close code | meaning |\n|---|---|\n", codes)
    events = [_event_row(event) for event in Event.__subclasses__()]
    return _with_table(page, "| kind | meaning | fields |\n|---|---|---|\n", events)


def _with_table(page: str, head: str, rows: list[str], *, after: str = "") -> str:
    """A page with other rows under the first such head after a text."""
    start = page.find(head, page.index(after))
    assert start >= 0, f"docs/events.md has lost the head of a table: {head!r}"
    start += len(head)
    old = page[start:].split("\n\n", 1)[0].removesuffix("\n") if not page.startswith("\n", start) else ""
    gap = "" if old else "\n"
    return page[:start] + "\n".join(rows) + gap + page[start + len(old) :]


def _message_rows(base: Any) -> list[str]:
    rows = []
    for kind in base.__subclasses__():
        fields = [f"`{field.name}`{'' if field.required else '?'}" for field in msgspec.structs.fields(kind)]
        meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").split()).rstrip(".").replace("``", "`")
        rows.append(f"| `{kind.__struct_config__.tag}` | {meaning} | {', '.join(fields)} |")
    return rows


def _event_row(event: Any) -> str:
    fields = [f"`{field.name}`" for field in msgspec.structs.fields(event) if field.name != "at_us"]
    meaning = " ".join(inspect.cleandoc(event.__doc__ or "").split()).rstrip(".")
    return f"| `{event.kind()}` | {meaning} | {', '.join(fields)} |"


def stack_file_page() -> str:
    """The manual of the stack file, which is its annotated examples."""
    from skep.deploy.stack.manual import manual_page

    return manual_page(WRITTEN_BY)


def import_page() -> str:
    """What `skep stack import` understands."""
    from skep.deploy.stack.importing import support_table

    lines = [
        "# From a Procfile or a Compose file",
        WRITTEN_BY,
        "",
        "    skep stack import Procfile > quarry.yml",
        "    skep stack import compose.yaml > quarry.yml",
        "",
        "The result is a [stack file](stack-file.md) to go on with. Whatever has no counterpart is told with its line,",
        "on standard error and in a comment of the result; nothing else is left out but what the table says.",
        "",
        "Of a Procfile, `web` becomes a web job (say its `domains`), every other process a worker; `release` is noted.",
        "",
        "A service of a Compose file that is built becomes a web job when it has ports, else a worker; one with a",
        "ready image becomes a service.",
        "",
        support_table(),
    ]
    return "\n".join(lines) + "\n"


def hq_settings_page() -> str:
    """The annotated settings file of an HQ."""
    from skep.deploy.hq.settings import annotated

    return f"# Settings of an HQ\n{WRITTEN_BY}\n\n```toml\n{annotated()}```\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "cli.md": cli_page,
    "api.md": api_page,
    "events.md": events_page,
    "deploy/stack-file.md": stack_file_page,
    "deploy/import.md": import_page,
    "deploy/hq-settings.md": hq_settings_page,
}


def main() -> int:
    """Write the pages, or with ``--check`` compare them; 1 when one differs."""
    check = "--check" in sys.argv[1:]
    stale = 0
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        print(f"{name} {'is not what the code says: run `make docs`' if check else 'written'}")
        if not check:
            path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
