"""Users and groups in the words of SCIM (RFC 7643), there and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from skep.auth.provisioning import KnownGroup, KnownUser
from skep.base.ids import id_text

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_MEMBER = re.compile(r'members\[\s*value\s+eq\s+"([^"\\]{1,100})"\s*\]', re.IGNORECASE)
_EMAIL = re.compile(r"emails(\[[^\]]{0,100}\])?(\.value)?", re.IGNORECASE)


class BadValue(Exception):
    """A value or path that cannot be; ``kind`` is a scimType of RFC 7644 section 3.12."""

    def __init__(self, said: str, kind: str = "invalidValue") -> None:
        super().__init__(said)
        self.kind = kind


@dataclass(slots=True)
class UserChange:
    """What of a user is to be so; None: as it is."""

    user_name: str | None = None
    full_name: str | None = None
    email: str | None = None
    active: bool | None = None
    password: str | None = None
    external_id: str | None = None


@dataclass(slots=True)
class GroupChange:
    """What of a group is to be so. ``members`` replaces all; ``add`` and ``remove`` change some."""

    name: str | None = None
    external_id: str | None = None
    members: set[str] | None = None
    add: set[str] | None = None
    remove: set[str] | None = None


def user_resource(known: KnownUser, base: str) -> dict[str, Any]:
    """A user as a resource."""
    info = known.info
    resource = {
        "schemas": [USER],
        "id": id_text(info.id),
        "userName": info.name,
        "displayName": info.full_name or info.name,
        "name": {"formatted": info.full_name, "givenName": info.first_name, "familyName": info.last_name},
        "emails": [{"value": info.email, "type": "work", "primary": True}] if info.email else [],
        "active": info.state == "active",
        "meta": _meta("User", info.id, info.created_us, base),
    }
    return resource if known.external_id is None else {**resource, "externalId": known.external_id}


def group_resource(known: KnownGroup, base: str) -> dict[str, Any]:
    """A group as a resource."""
    group = known.detail.group
    resource = {
        "schemas": [GROUP],
        "id": id_text(group.id),
        "displayName": group.name,
        "members": [
            {
                "value": id_text(one.user_id),
                "display": one.user_name,
                "type": "User",
                "$ref": f"{base}/Users/{id_text(one.user_id)}",
            }
            for one in known.detail.members
        ],
        "meta": _meta("Group", group.id, group.created_us, base),
    }
    return resource if known.external_id is None else {**resource, "externalId": known.external_id}


def _meta(kind: str, thing: bytes, created_us: int, base: str) -> dict[str, Any]:
    made = datetime.fromtimestamp(created_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"resourceType": kind, "created": made, "location": f"{base}/{kind}s/{id_text(thing)}"}


def user_change(raw: Mapping[str, Any]) -> UserChange:
    """What a whole or partial user resource asks for. Unknown attributes are passed over, as RFC 7644 wants."""
    change = UserChange()
    for name, value in raw.items():
        _set_user(change, name, value)
    return change


def _set_user(change: UserChange, path: str, value: Any) -> None:
    key = path.rpartition(":")[2].lower() if path.lower().startswith("urn:") else path.lower()
    if key == "username":
        change.user_name = _text(value, path)
    elif key in ("displayname", "name.formatted"):
        change.full_name = _text(value, path)
    elif key == "name" and isinstance(value, Mapping):
        fields = {str(name).lower(): text for name, text in value.items()}
        whole = fields.get("formatted") or f"{fields.get('givenname') or ''} {fields.get('familyname') or ''}".strip()
        change.full_name = _text(whole, path) if whole else change.full_name
    elif key == "active":
        change.active = _flag(value)
    elif key == "password":
        change.password = _text(value, path)
    elif key == "externalid":
        change.external_id = _text(value, path)
    elif _EMAIL.fullmatch(key):
        change.email = _email(value)


def _email(value: Any) -> str:
    if isinstance(value, list):
        known = [one for one in value if isinstance(one, Mapping)]
        primary = [one for one in known if one.get("primary") is True]
        value = (primary or known or [{}])[0]
    if isinstance(value, Mapping):
        value = value.get("value", "")
    return _text(value, "emails")


def user_patch(operations: Any) -> UserChange:
    """What a PATCH of a user asks for (RFC 7644 section 3.5.2). Raises BadValue."""
    change = UserChange()
    for verb, path, value in _operations(operations):
        if verb == "remove":
            key = path.lower()
            if _EMAIL.fullmatch(key):
                change.email = ""
            elif key in ("displayname", "name", "name.formatted"):
                change.full_name = ""
            else:
                raise BadValue(f"{path[:60]!r} cannot be removed", "mutability" if path else "noTarget")
        elif path:
            _set_user(change, path, value)
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                _set_user(change, str(name), inner)
        else:
            raise BadValue("an operation without a path has an object as its value")
    return change


def group_change(raw: Mapping[str, Any]) -> GroupChange:
    """What a whole group resource asks for."""
    fields = {str(name).lower(): value for name, value in raw.items()}
    change = GroupChange()
    if "displayname" in fields:
        change.name = _text(fields["displayname"], "displayName")
    if "externalid" in fields:
        change.external_id = _text(fields["externalid"], "externalId")
    if "members" in fields:
        change.members = _members(fields["members"])
    return change


def group_patch(operations: Any) -> GroupChange:
    """What a PATCH of a group asks for. Raises BadValue."""
    change = GroupChange(add=set(), remove=set())
    assert change.add is not None
    assert change.remove is not None
    for verb, path, value in _operations(operations):
        one = _MEMBER.fullmatch(path.strip())
        if one and verb == "remove":
            change.remove.add(one[1])
        elif path.lower() == "members" and verb == "add":
            change.add |= _members(value)
        elif path.lower() == "members" and verb == "remove" and value is not None:
            change.remove |= _members(value)
        elif path.lower() == "members":
            change.members = set() if verb == "remove" else _members(value)
        elif verb != "remove":
            inner = group_change({path: value} if path else value if isinstance(value, Mapping) else {})
            if not path and verb == "add" and inner.members is not None:
                change.add |= inner.members
                inner.members = None
            change.name, change.external_id = inner.name or change.name, inner.external_id or change.external_id
            change.members = inner.members if inner.members is not None else change.members
        else:
            raise BadValue(f"{path[:60]!r} cannot be removed", "mutability" if path else "noTarget")
    return change


def _operations(raw: Any) -> list[tuple[str, str, Any]]:
    if not isinstance(raw, Mapping):
        raise BadValue("a PATCH is an object", "invalidSyntax")
    found = next((value for name, value in raw.items() if name.lower() == "operations"), None)
    if not isinstance(found, list) or not 1 <= len(found) <= 1000:
        raise BadValue("a PATCH has 1 to 1000 Operations", "invalidSyntax")
    done = []
    for one in found:
        fields = {str(name).lower(): value for name, value in one.items()} if isinstance(one, Mapping) else {}
        verb, path = str(fields.get("op", "")).lower(), fields.get("path") or ""
        if verb not in ("add", "replace", "remove") or not isinstance(path, str) or len(path) > 300:
            raise BadValue(
                "an operation is add, replace or remove, with a path of at most 300 characters", "invalidSyntax"
            )
        done.append((verb, path, fields.get("value")))
    return done


def _members(value: Any) -> set[str]:
    listed = value if isinstance(value, list) else [value]
    found = {one.get("value") for one in listed if isinstance(one, Mapping)}
    if len(found) > 10_000 or not all(isinstance(one, str) and 1 <= len(one) <= 100 for one in found):
        raise BadValue("members are objects with the id of a user as value")
    return {str(one) for one in found}


def _text(value: Any, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 1024:
        raise BadValue(f"{path[:60]} is a text of at most 1024 characters")
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):  # as one large directory sends it
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise BadValue("active is true or false")
    return value
