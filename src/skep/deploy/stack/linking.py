"""Link variables: what tells a job where the services of its stack are.

For a service MONGO that listens on port 27017 and is reached at 10.0.0.5:32768:

    MONGO_PORT=tcp://10.0.0.5:32768               the first of its ports
    MONGO_PORT_27017_TCP=tcp://10.0.0.5:32768
    MONGO_PORT_27017_TCP_PROTO=tcp
    MONGO_PORT_27017_TCP_ADDR=10.0.0.5
    MONGO_PORT_27017_TCP_PORT=32768

Names are those of Docker's links; unlike those they hold across hosts. A service itself gets none: it starts first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from skep.deploy.stack.records import Job


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where one port of a service is reached."""

    number: int
    """The service's own port."""
    address: str
    port: int


def link_variables(service: str, endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """The variables of one service; none when it has no ports."""
    name = re.sub(r"[^A-Z0-9]", "_", service.upper())
    variables: dict[str, str] = {}
    for endpoint in endpoints:
        host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
        url = f"tcp://{host}:{endpoint.port}"
        variables.setdefault(f"{name}_PORT", url)
        prefix = f"{name}_PORT_{endpoint.number}_TCP"
        variables[prefix] = url
        variables[f"{prefix}_PROTO"] = "tcp"
        variables[f"{prefix}_ADDR"] = endpoint.address
        variables[f"{prefix}_PORT"] = str(endpoint.port)
    return variables


def job_variables(
    job: Job, *, links: Mapping[str, str], global_env: Mapping[str, str], stack_env: Mapping[str, str]
) -> dict[str, str]:
    """What a job of the stack gets, later ones win: links (but for a service), global, stack, its own ``env``."""
    linked = {} if job.kind == "service" else links
    return {**linked, **global_env, **stack_env, **job.env}
