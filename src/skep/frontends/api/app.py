"""The JSON API put together: all operations, one application."""

from __future__ import annotations

from skep.frontends.api import (
    access_keys,
    account,
    agents,
    archive,
    audit,
    batch,
    changes,
    chunk,
    cloud,
    credit,
    credit_keys,
    credit_plans,
    credit_shop,
    credit_usage,
    dashboard,
    download,
    factors,
    groups,
    identity,
    info,
    invites,
    letters,
    links,
    login,
    members,
    moving,
    options,
    own_stores,
    placements,
    programs,
    public,
    quotas,
    rebalance,
    shares,
    stores,
    tags,
    trash,
    tree,
    upkeep,
    upload,
    users,
    versions,
)
from skep.frontends.api.docs import docs_operations
from skep.frontends.api.operation import Operation
from skep.frontends.api.router import ApiApp
from skep.frontends.api.services import Services

_RESOURCES = (
    upload,
    download,
    archive,
    batch,
    info,
    tree,
    versions,
    trash,
    tags,
    shares,
    links,
    public,
    changes,
    chunk,
    cloud,
    members,
    login,
    letters,
    account,
    factors,
    identity,
    programs,
    moving,
    audit,
    options,
    access_keys,
    users,
    groups,
    quotas,
    invites,
    credit,
    credit_shop,
    credit_plans,
    credit_keys,
    credit_usage,
    own_stores,
    stores,
    placements,
    agents,
    upkeep,
    dashboard,
    rebalance,
)


def all_operations() -> tuple[Operation, ...]:
    """Every operation of the API, those that describe it included."""
    resources = tuple(operation for resource in _RESOURCES for operation in resource.OPERATIONS)
    return (*resources, *docs_operations(all_operations))


_ALWAYS = ("/api/auth", "/api/admin", "/api/stores", "/.well-known")
_OF_SERVICES = {
    "array": ("/api/array", "/api/agents"),
    "cloud": ("/api/cloud",),
    "chunk": ("/api/chunk", "/api/array", "/api/agents", "/api/cloud"),
}
"""What a hive answers that is one service alone: its own URLs, and those by which people log in and see to it."""


def operations_of(service: str) -> tuple[Operation, ...]:
    """The operations of a hive that serves ``array``, ``cloud`` or ``chunk`` (the front over both) alone."""
    wanted = (*_ALWAYS, *_OF_SERVICES[service])
    chosen = tuple(
        operation
        for resource in _RESOURCES
        for operation in resource.OPERATIONS
        if any(operation.path == path or operation.path.startswith(f"{path}/") for path in wanted)
    )
    return (*chosen, *docs_operations(lambda: operations_of(service)))


def api_app(services: Services, only: str = "") -> ApiApp:
    """The ASGI application of the JSON API; ``only``: of one service alone."""
    return ApiApp(operations_of(only) if only else all_operations(), services)
