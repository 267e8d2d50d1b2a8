"""The ASGI application of the door at ``/scim/v2/``: users and groups for administrators' programs (RFC 7644)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from skep.auth import Auth, Principal
from skep.base import errors as e
from skep.base.ids import Id, id_text, parse_id
from skep.base.logs import get_logger
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.body import Body
from skep.frontends.common.browsers import base_url
from skep.frontends.common.headers import check_head, declared_length
from skep.frontends.common.request import Request, client_of
from skep.frontends.scim import resources as r
from skep.frontends.scim.filters import BadFilter, parse_filter

log = get_logger("skep.scim")
ROOT: Final = "/scim/v2"
TYPE: Final = "application/scim+json"
BODY_BYTES_MAX: Final = 1 << 20
COUNT: Final = 100
SCAN_MAX: Final = 20_000
"""Users or groups that a filter looks at; a hive with more answers ``tooMany``."""
_STATUS: Mapping[type[e.SkepError], int] = {
    e.BadInput: 400,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.AlreadyExists: 409,
    e.Conflict: 409,
    e.BodyTooLarge: 413,
    e.LimitReached: 429,
    e.Unavailable: 503,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScimGround:
    """What the door stands on."""

    auth: Auth
    public_url: str
    head_bytes: int
    idle_timeout_s: float


class ScimApp:
    """The directory's door."""

    def __init__(self, ground: ScimGround) -> None:
        self._ground = ground

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope.setdefault("state", {})
        known["route"] = ROOT
        ground = self._ground
        headers = known.get("headers") or check_head(scope, ground.head_bytes)
        declared, idle_s = declared_length(headers), ground.idle_timeout_s
        body = Body(receive, declared=declared, limit_bytes=BODY_BYTES_MAX, idle_timeout_s=idle_s)
        request = Request(
            scope=scope, headers=headers, body=body, request_id=known.get("request_id", ""), client=client_of(scope),
            _send=send,
        )  # fmt: skip
        try:
            body.check_declared()
            await self._answer(request)
        except (BadFilter, r.BadValue) as error:
            kind = "invalidFilter" if isinstance(error, BadFilter) else error.kind
            await _fail(request, 400, str(error), kind)
        except e.SkepError as error:
            status = next((_STATUS[one] for one in type(error).__mro__ if one in _STATUS), 500)
            kind = "uniqueness" if status == 409 else "invalidValue" if status == 400 else ""
            await _fail(request, status, error.message, kind)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("bug", request_id=request.request_id)
            await _fail(request, 500, "Something went wrong inside the hive: its log has more.")

    async def _answer(self, request: Request) -> None:
        path = request.scope["path"].removeprefix(ROOT).strip("/")
        kind, _, thing = path.partition("/")
        principal = await self._authenticated(request)
        principal.require_admin()
        base = base_url(request, self._ground.public_url) + ROOT
        directory = _Directory(self._ground.auth, principal, base)
        method = request.scope["method"]
        if method in ("GET", "HEAD") and path in _ABOUT:
            await _say(request, 200, _ABOUT[path](base))
        elif kind in ("Users", "Groups") and "/" not in thing:
            await self._resources(request, directory, kind, thing, "GET" if method == "HEAD" else method)
        else:
            raise e.NotFound(f"There is nothing at {request.scope['path'][:200]!r}.")

    async def _authenticated(self, request: Request) -> Principal:
        kind, _, credential = (request.headers.get("authorization") or "").partition(" ")
        if kind.lower() == "bearer" and credential.strip().lower().startswith("skep-"):
            return await self._ground.auth.authenticate_app_secret(credential.strip())
        return await authenticate(self._ground.auth, request.headers, request.client)

    async def _resources(self, request: Request, directory: _Directory, kind: str, thing: str, method: str) -> None:
        users = kind == "Users"
        match method, bool(thing):
            case "GET", False:
                await _say(request, 200, await directory.listing(kind, _query(request)))
            case "POST", False:
                raw = await _json(request)
                made = await (directory.make_user(raw) if users else directory.make_group(raw))
                await _say(request, 201, made, ("location", made["meta"]["location"]))
            case "GET", True:
                await _say(request, 200, await (directory.user(thing) if users else directory.group(thing)))
            case (("PUT" | "PATCH"), True):
                raw = await _json(request)
                if users:
                    change = r.user_change(raw) if method == "PUT" else r.user_patch(raw)
                    await _say(request, 200, await directory.change_user(thing, change))
                else:
                    asked = r.group_change(raw) if method == "PUT" else r.group_patch(raw)
                    await _say(request, 200, await directory.change_group(thing, asked))
            case "DELETE", True:
                await (directory.drop_user(thing) if users else directory.drop_group(thing))
                await send_bytes(request.send, 204, b"", [])
            case _:
                await _fail(request, 405, f"{method} is not done here.")


class _Directory:
    """Users and groups as one administrator's program sees them."""

    def __init__(self, auth: Auth, principal: Principal, base: str) -> None:
        self._auth, self._principal, self._base = auth, principal, base

    async def user(self, thing: str) -> dict[str, Any]:
        known = await self._auth.known_user(self._principal, _id(thing, e.UserNotFound))
        return r.user_resource(known, self._base)

    async def group(self, thing: str) -> dict[str, Any]:
        known = await self._auth.known_group(self._principal, _id(thing, e.GroupNotFound))
        return r.group_resource(known, self._base)

    async def listing(self, kind: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what a filter finds (RFC 7644 section 3.4.2)."""
        test = parse_filter(query["filter"]) if query.get("filter") else None
        start, count = max(1, _number(query, "startIndex", 1)), max(0, min(COUNT, _number(query, "count", COUNT)))
        found: list[dict[str, Any]] = []
        total, after, seen = 0, bytes(16), 0
        while page := await self._page(kind, after):
            for thing_id, resource in page:
                after, seen = thing_id, seen + 1
                if test is None or test(resource):
                    total += 1
                    if start <= total < start + count:
                        found.append(resource)
            if seen >= SCAN_MAX:
                raise r.BadValue(f"there are more than {SCAN_MAX} to look at", "tooMany")
        return {
            "schemas": [r.LIST],
            "totalResults": total,
            "startIndex": start,
            "itemsPerPage": len(found),
            "Resources": found,
        }

    async def _page(self, kind: str, after: Id) -> list[tuple[Id, dict[str, Any]]]:
        if kind == "Users":
            users = await self._auth.known_users(self._principal, after=after, limit=500)
            return [(one.info.id, r.user_resource(one, self._base)) for one in users]
        groups = await self._auth.known_groups(self._principal, after=after, limit=100)
        return [(one.detail.group.id, r.group_resource(one, self._base)) for one in groups]

    async def make_user(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        change = r.user_change(raw)
        info = await self._auth.create_user(
            self._principal,
            change.user_name or "",
            change.password or None,
            email=change.email or "",
            full_name=change.full_name or "",
        )
        rest = r.UserChange(active=change.active, external_id=change.external_id)
        return await self.change_user(id_text(info.id), rest)

    async def change_user(self, thing: str, change: r.UserChange) -> dict[str, Any]:
        user_id = _id(thing, e.UserNotFound)
        known = await self._auth.known_user(self._principal, user_id)
        fields = (change.user_name, change.email, change.full_name, change.password)
        if fields != (None, None, None, None):
            await self._auth.update_user(
                self._principal,
                user_id,
                name=change.user_name,
                email=change.email,
                full_name=change.full_name,
                password=change.password,
            )
        if change.active is not None and change.active is not (known.info.state == "active"):
            await (self._auth.resume_user if change.active else self._auth.suspend_user)(self._principal, user_id)
        if change.external_id is not None:
            external = change.external_id or None
            await self._auth.name_externally(self._principal, user=user_id, external_id=external)
        return await self.user(thing)

    async def drop_user(self, thing: str) -> None:
        user_id = _id(thing, e.UserNotFound)
        await self._auth.known_user(self._principal, user_id)
        await self._auth.schedule_deletion(self._principal, user_id, self._auth.deletion_grace_s)

    async def make_group(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        change = r.group_change(raw)
        ids = {_id(one, e.UserNotFound) for one in change.members or ()}
        for user_id in ids:
            await self._auth.known_user(self._principal, user_id)
        group = await self._auth.create_group(self._principal, change.name or "")
        rest = r.GroupChange(external_id=change.external_id, members=change.members)
        return await self.change_group(id_text(group.id), rest)

    async def change_group(self, thing: str, change: r.GroupChange) -> dict[str, Any]:
        group_id = _id(thing, e.GroupNotFound)
        known = await self._auth.known_group(self._principal, group_id)
        have = {id_text(one.user_id) for one in known.detail.members}
        wanted = (have if change.members is None else change.members) | (change.add or set())
        wanted -= change.remove or set()
        if change.name is not None and change.name != known.detail.group.name:
            await self._auth.rename_group(self._principal, group_id, change.name)
        for one in sorted(wanted - have):
            await self._auth.add_member(self._principal, group_id, _id(one, e.UserNotFound))
        for one in sorted(have - wanted):
            await self._auth.remove_member(self._principal, group_id, _id(one, e.UserNotFound))
        if change.external_id is not None:
            external = change.external_id or None
            await self._auth.name_externally(self._principal, group=group_id, external_id=external)
        return await self.group(thing)

    async def drop_group(self, thing: str) -> None:
        await self._auth.delete_group(self._principal, _id(thing, e.GroupNotFound))


def _id(text: str, missing: type[e.NotFound]) -> Id:
    try:
        return parse_id(text)
    except e.SkepError:
        raise missing(f"There is nothing with the id {text[:64]!r}.") from None


def _query(request: Request) -> dict[str, str]:
    try:
        raw = request.scope.get("query_string", b"").decode("ascii")
        return dict(parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=32))
    except ValueError:
        raise e.MalformedRequest("The query does not parse: percent-encode it as UTF-8.") from None


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.lstrip("-").isdecimal() or len(text) > 9:
        raise r.BadValue(f"{name} is a whole number")
    return int(text)


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body.read(BODY_BYTES_MAX))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise r.BadValue("The body is not a JSON object.", "invalidSyntax")
    return found


async def _say(request: Request, status: int, value: Mapping[str, Any], *headers: tuple[str, str]) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    own = [("content-type", TYPE), ("cache-control", "no-store"), *headers]
    await send_bytes(request.send, status, body, own, head_only=request.head_only)


async def _fail(request: Request, status: int, said: str, kind: str = "") -> None:
    if request.started:
        return
    body: dict[str, Any] = {"schemas": [r.ERROR], "status": str(status), "detail": said}
    headers = [("www-authenticate", 'Bearer realm="skep"')] if status == 401 else []
    await _say(request, status, {**body, "scimType": kind} if kind else body, *headers)


def _config(base: str) -> dict[str, Any]:
    schemes = [{"type": "oauthbearertoken", "name": "App password or access token", "description": "as a bearer token"}]
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": COUNT},
        "changePassword": {"supported": True},
        "sort": {"supported": False},
        "etag": {"supported": False},
        "authenticationSchemes": schemes,
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def _types(base: str) -> dict[str, Any]:
    found = [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "endpoint": f"/{name}s",
            "schema": schema,
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{name}"},
        }
        for name, schema in (("User", r.USER), ("Group", r.GROUP))
    ]
    return _listed(found)


def _schemas(base: str) -> dict[str, Any]:
    def attribute(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
        plain = {"multiValued": False, "required": False, "caseExact": False, "mutability": "readWrite"}
        return {"name": name, "type": kind, **plain, "returned": "default", "uniqueness": "none", **more}

    value = attribute("value")
    user = [
        attribute("userName", required=True, uniqueness="server"),
        attribute("displayName"),
        attribute("name", "complex", subAttributes=[attribute(n) for n in ("formatted", "givenName", "familyName")]),
        attribute("emails", "complex", multiValued=True, subAttributes=[value, attribute("primary", "boolean")]),
        attribute("active", "boolean"),
        attribute("password", returned="never", mutability="writeOnly"),
    ]
    group = [
        attribute("displayName", required=True, uniqueness="server"),
        attribute("members", "complex", multiValued=True, subAttributes=[value, attribute("display")]),
    ]
    found = [
        {
            "id": schema,
            "name": name,
            "attributes": fields,
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{schema}"},
        }
        for name, schema, fields in (("User", r.USER, user), ("Group", r.GROUP, group))
    ]
    return _listed(found)


def _listed(found: list[dict[str, Any]]) -> dict[str, Any]:
    head = {"schemas": [r.LIST], "totalResults": len(found), "startIndex": 1, "itemsPerPage": len(found)}
    return {**head, "Resources": found}


_ABOUT = {"ServiceProviderConfig": _config, "ResourceTypes": _types, "Schemas": _schemas}
