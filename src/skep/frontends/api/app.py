"""The JSON API put together: all operations, one application."""

from __future__ import annotations

from skep.frontends.api import (
    access_keys,
    account,
    agents,
    batch,
    changes,
    chunk,
    cloud,
    download,
    groups,
    info,
    invites,
    login,
    members,
    options,
    own_stores,
    placements,
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
    batch,
    info,
    tree,
    versions,
    trash,
    tags,
    shares,
    changes,
    chunk,
    cloud,
    members,
    login,
    account,
    options,
    access_keys,
    users,
    groups,
    quotas,
    invites,
    own_stores,
    stores,
    placements,
    agents,
    upkeep,
    rebalance,
)


def all_operations() -> tuple[Operation, ...]:
    """Every operation of the API, those that describe it included."""
    resources = tuple(operation for resource in _RESOURCES for operation in resource.OPERATIONS)
    return (*resources, *docs_operations(all_operations))


def api_app(services: Services) -> ApiApp:
    """The ASGI application of the JSON API."""
    return ApiApp(all_operations(), services)
