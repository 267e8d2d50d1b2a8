"""Whatever a stack file holds, it is read or its problems are told; nothing else ever happens."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.errors import InvalidStack
from skep.deploy.stack.crossing import build_order, start_order
from skep.deploy.stack.importing import import_compose, import_procfile
from skep.deploy.stack.reader import KEYS, KINDS, read_stack
from skep.deploy.stack.records import Stack

NAMES = st.sampled_from(["web", "db", "api", "base", "Web", "a b", "1x", ""])
WORDS = [
    "",
    "80",
    "8080:80",
    "yes",
    "no",
    "a.b",
    "*.a.b",
    "/data",
    "v:/data",
    "x=y",
    "shop/base",
    "FROM shop/db",
    "512MB",
    "tcp",
    "/up",
    "@daily",
    "* * * * *",
    "web",
    "db",
    "./Dockerfile",
    "../x",
    "10s",
    "0.5",
    "-1",
    "ä",
    "\t",
    "~",
    "%",
]
SCALARS = st.one_of(st.sampled_from(WORDS), st.text(max_size=8), st.integers(-5, 70_000), st.none(), st.booleans())
INNER_KEYS = st.sampled_from(["http", "tcp", "port", "memory", "cpu", "A", "interval", "x y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(INNER_KEYS, inner, max_size=3),
    ),
    max_leaves=5,
)
COMPOSE_KEYS = [
    "image",
    "build",
    "command",
    "ports",
    "volumes",
    "environment",
    "healthcheck",
    "depends_on",
    "deploy",
    "scale",
    "entrypoint",
    "mem_limit",
    "other",
]
JOBS = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from([*KINDS, "wep"]), VALUES)},
    optional={key: VALUES for key in [*KEYS, "unknown"] if key != "type"},
)


def told(error: InvalidStack) -> list[dict[str, Any]]:
    """The problems that an error tells, at least one."""
    problems = error.details["problems"]
    assert isinstance(problems, list)
    assert problems
    return problems


def well_formed(stack: Stack) -> None:
    """What holds of every stack that was read."""
    names = [job.name for job in stack.jobs]
    assert len(set(names)) == len(names)
    domains = [domain for job in stack.jobs for domain in job.domains]
    assert len(set(domains)) == len(domains)
    started = [job.name for job in start_order(stack)]
    assert set(started) == {job.name for job in stack.of_kind("service", "web", "worker")}
    for job in stack.jobs:
        assert bool(job.image) + job.is_built == (job.kind != "static")
        assert all(stack.job(link) is not None for link in job.links)
        if job.name in started:
            places = [started.index(link) for link in job.links]
            assert all(place < started.index(job.name) for place in places)
        if job.health is not None and job.health.kind != "command":
            assert job.health.port in {port.number for port in job.expose}
    assert {job.name for job in build_order(stack)} == {job.name for job in stack.jobs if job.is_built}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, st.one_of(JOBS, SCALARS), max_size=4))
def test_a_map_of_anything_is_a_stack_or_a_list_of_problems(found: dict[str, Any]) -> None:
    text = json.dumps(found)  # every JSON text of this kind is YAML
    try:
        stack = read_stack(text, "shop")
    except InvalidStack as error:
        problems = told(error)
        assert all(p["line"] == 1 and 1 <= p["column"] <= len(text) + 1 and p["message"] for p in problems)
    else:
        well_formed(stack)


@settings(max_examples=40, deadline=None)
@given(st.text(st.sampled_from("web:\n \t-{}[]'\"#&*!|>%@,type run x0\\é\0\u2028"), max_size=60))
def test_any_text_is_a_stack_or_told(text: str) -> None:
    try:
        well_formed(read_stack(text, "shop"))
    except InvalidStack as error:
        told(error)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        NAMES,
        st.dictionaries(
            st.sampled_from(COMPOSE_KEYS),
            VALUES,
            max_size=5,
        ),
        max_size=3,
    ),
    st.text(max_size=40),
)
def test_imports_give_a_text_or_are_told(services: dict[str, Any], procfile: str) -> None:
    try:
        assert import_compose(json.dumps({"services": services})).text.startswith("# Made from")
    except InvalidStack as error:
        told(error)
    try:
        assert import_procfile(procfile).text
    except InvalidStack as error:
        told(error)
