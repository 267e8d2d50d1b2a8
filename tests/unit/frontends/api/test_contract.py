"""What holds for every operation, whatever it does."""

from __future__ import annotations

import inspect
from typing import Any

import httpx
import pytest

from skep.base import errors
from skep.frontends.api.app import all_operations
from skep.frontends.api.errors import STATUS, problem_of, status_of
from skep.frontends.api.openapi import openapi_document
from skep.frontends.api.operation import Answer, Operation, signature_of
from skep.testing.hive import TestHive

OPERATIONS = all_operations()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_every_operation_is_described(operation: Operation) -> None:
    assert operation.summary
    parameters = set(inspect.signature(operation.handler).parameters)
    assert parameters <= {"call", "query", "body"}
    signature = signature_of(operation)
    assert ("query" in parameters) == (signature.query is not None)
    assert not (operation.streams and signature.body is not None)


def test_the_document_has_every_operation_and_no_dangling_reference() -> None:
    document = openapi_document(OPERATIONS)
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(operation.method, operation.path) for operation in OPERATIONS}
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(one) for one in value.values()))
        return set().union(*(references(one) for one in value)) if isinstance(value, list) else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


def test_what_is_not_for_everyone_needs_a_credential(hive: TestHive) -> None:
    open_to_all = {operation.path for operation in OPERATIONS if operation.scope is None}
    assert open_to_all == {
        "/api",
        "/api/docs",
        "/api/docs.js",
        "/api/openapi.json",
        "/api/agents/enrol",
        "/api/auth/register",
        "/api/auth/login",
        "/api/auth/reset",
        "/api/auth/reset/confirm",  # the token of a letter is the credential
        "/api/auth/verify-email",
        "/api/auth/login/sso",  # a ticket that one browser was given
        "/api/auth/sso",
        "/api/auth/sso/{name}",
        "/api/auth/sso/{name}/callback",
        "/api/auth/login/second/ask",
        "/api/auth/login/second/passkey",
        "/api/auth/login/passkey/ask",
        "/api/auth/login/passkey",
        "/api/auth/login/second",  # the question is the credential
        "/api/auth/refresh",
        "/api/auth/jwks",
        "/api/cloud/login/{provider}",  # a browser's: let in by a ticket, then by a cookie and the provider's state
        "/api/cloud/login/{provider}/complete",
        "/api/credit/deposits",  # these three take a program's key instead
        "/api/credit/withdrawals",
        "/api/credit/transfers/{transfer}/refunds",
        "/api/credit/payments",  # signed
        "/api/credit/prices",
        "/api/public/{token}",  # the address of a link is the credential, in these six
        "/api/public/{token}/data",
        "/api/public/{token}/downloads",
        "/api/public/{token}/entries",
        "/api/public/{token}/unlock",
        "/api/public/{token}/zip",
        "/.well-known/jwks.json",
    }


async def test_nobody_gets_in_without_one(hive: TestHive) -> None:
    for operation in OPERATIONS:
        if operation.scope is None:
            continue
        path = operation.path.replace("{", "").replace("}", "")
        answer = await hive.anonymous.request(operation.method, path)
        assert (answer.status_code, operation.method, path) == (401, operation.method, path)
        if operation.method != "HEAD":
            assert answer.json()["code"] == "unauthenticated"


def every_error() -> list[type[errors.SkepError]]:
    """Those of the tree. What a door or package adds of its own depends on who has imported it, and on nobody here."""
    own = (kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.SkepError))
    return sorted(own, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_problem(kind: type[errors.SkepError]) -> None:
    problem = problem_of(kind("what happened", thing="x"))
    assert 400 <= problem.status <= 507
    assert problem.code == kind.code
    record = problem.record("id-1")
    assert (record["request_id"], record["details"]) == ("id-1", {"thing": "x"})


def test_what_waiting_can_help_is_said_with_retry_after() -> None:
    assert dict(problem_of(errors.RateLimited("slow down", retry_after_s=7.2)).headers)["retry-after"] == "8"
    assert dict(problem_of(errors.DatabaseBusy("busy")).headers)["retry-after"] == "1"
    assert status_of(errors.NodeNotFound("no")) == 404
    assert STATUS[errors.PreconditionFailed] == 412


async def test_methods_paths_and_slashes(hive: TestHive, ada: httpx.AsyncClient) -> None:
    wrong = await ada.put("/api/auth/me")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS, PATCH")
    assert (await ada.options("/api/auth/me")).headers["allow"] == "GET, HEAD, OPTIONS, PATCH"
    assert (await ada.get("/api/auth/me/")).status_code == 200
    assert (await ada.get("/api/nothing/here")).json()["code"] == "no-such-route"
    assert (await ada.head("/api/auth/me")).content == b""


async def test_json_bodies_that_do_not_fit(hive: TestHive) -> None:
    client = hive.anonymous
    json = "application/json"
    for content, kind in (
        (b"{", json),
        (b"[]", json),
        (b'{"name":1,"password":"x"}', json),
        (b'{"name":"a","password":"b","more":1}', json),
        (b'{"name":"\xff","password":"b"}', json),
        (b"name=a", "text/plain"),
    ):
        answer = await client.post("/api/auth/login", content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), content
    large = await client.post("/api/auth/login", content=b" " * (5 << 20), headers={"content-type": "application/json"})
    assert (large.status_code, large.json()["code"]) == (413, "body-too-large")


async def test_a_bug_is_500_and_says_nothing_of_the_inside(
    hive: TestHive, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(hive.hive.auth, "me", broken)
    answer = await ada.get("/api/auth/me")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_the_pages_need_nothing_from_elsewhere(hive: TestHive) -> None:
    for path in ("/", "/api/docs", "/api/docs.js"):
        answer = await hive.anonymous.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "//" not in answer.text.replace("// Draws", "").replace("http://www.w3.org", "")
    document = await hive.anonymous.get("/api/openapi.json")
    assert document.json()["openapi"] == "3.1.0"


def test_an_answer_may_choose_its_status() -> None:
    assert Answer("x", 202).status == 202
