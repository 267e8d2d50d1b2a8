"""From a job of a stack to what an engine is given, and what makes two slices the same.

A web job or worker is what its spec is: image, words, variables, ports, limits. A service is what the stack file says
of it, so that neither a push of other files nor a changed variable restarts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from skep.crypto.hashing import digest
from skep.deploy.engines.records import Binding, JobSpec, Mount, Restart
from skep.deploy.launch.records import Release, SliceRecord
from skep.deploy.stack.linking import Endpoint, job_variables, link_variables
from skep.deploy.stack.records import Job, Port

Variables = Mapping[str, str]


def slice_id(stack: str, job: str, plan: int, number: int) -> str:
    """The id of a slice: no other plan of the stack gives it."""
    return f"{stack}.{job}.{plan}-{number}"


def volume_name(stack: str, name: str) -> str:
    """The name of a stack's volume on a host."""
    return f"{stack}.{name}"


def job_spec(release: Release, job: Job, links: Variables, global_env: Variables, stack_env: Variables) -> JobSpec:
    """What an engine is given for a slice of the job; ports are as the file says."""
    stack = release.stack.name
    return JobSpec(
        image=release.images.get(job.name, job.image),
        argv=job.run,
        args=job.args,
        env=job_variables(job, links=links, global_env=global_env, stack_env=stack_env),
        ports=job.expose,
        mounts=tuple(Mount(volume=volume_name(stack, one.name), path=one.path) for one in job.volumes),
        memory_limit_bytes=job.memory_limit_bytes,
        cpu_weight_millis=job.size.cpu_millis,
        cpu_limit_millis=job.cpu_limit_millis,
        restart=Restart(policy="never") if job.kind == "cron" else Restart(),
        health=job.health,
        stop_grace_s=job.stop_grace_s,
    )


def identity(release: Release, job: Job, spec: JobSpec) -> str:
    """Equal for slices that need not be replaced by each other."""
    if job.kind != "service":
        return digest(msgspec.json.encode((spec.digest, job.size, job.tags))).hex()[:32]
    said = msgspec.structs.replace(
        job,
        image="",
        build=None,
        links=(),
        hook="",
        unhook="",
        shares=False,
        shared_from="",
        line=0,
    )
    return digest(msgspec.json.encode((said, release.recipes.get(job.name, "")), order="sorted")).hex()[:32]


def with_ports(spec: JobSpec, bindings: Iterable[Binding]) -> JobSpec:
    """The same spec on the ports of the host that it had before, as far as it does not fix others."""
    known = {one.number: one.host_port for one in bindings}
    ports = tuple(
        Port(number=port.number, host_port=port.host_port or known.get(port.number, 0)) for port in spec.ports
    )
    return msgspec.structs.replace(spec, ports=ports)


def fixed_ports(record: SliceRecord) -> frozenset[int]:
    """The ports of the host that a slice holds alone."""
    return frozenset(port.host_port for port in record.spec.ports if port.host_port)


def service_links(name: str, bindings: Iterable[Binding]) -> dict[str, str]:
    """The link variables of a service that is reached there."""
    ends = [Endpoint(number=one.number, address=one.address, port=one.host_port) for one in bindings]
    return link_variables(name, ends)
