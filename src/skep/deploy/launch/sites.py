"""What the router is to serve for a stack: plain functions from slices to sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skep.deploy.engines.records import Binding
from skep.deploy.launch.records import SliceRecord
from skep.deploy.router.records import Backend, Certificate, Site
from skep.deploy.stack.records import Job, Stack

WEB_PORT = 80


def web_port(job: Job) -> int:
    """The job's port that the router leads to: 80 if it exposes that, else its first."""
    numbers = [port.number for port in job.expose]
    return WEB_PORT if WEB_PORT in numbers or not numbers else numbers[0]


def sites_of(
    stack: Stack,
    serving: Iterable[SliceRecord],
    *,
    roots: Mapping[str, str],
    certificates: Mapping[str, Certificate],
) -> tuple[Site, ...]:
    """A site for each job with domains. ``roots``: static job -> its folder; ``certificates``: job -> its own."""
    records = list(serving)
    sites = []
    for job in stack.of_kind("web", "static"):
        if not job.domains or (job.kind == "static" and job.name not in roots):
            continue
        backends = {
            Backend(found.address, found.host_port)
            for record in records
            if record.job == job.name and job.kind == "web"
            for place in record.places.values()
            if place.is_ready and (found := _bound(place.bindings, web_port(job))) is not None
        }
        sites.append(
            Site(
                job=job.name,
                domains=job.domains,
                backends=tuple(sorted(backends)),
                document_root=roots[job.name] if job.kind == "static" else "",
                certificate=certificates.get(job.name),
            )
        )
    return tuple(sites)


def _bound(bindings: Iterable[Binding], number: int) -> Binding | None:
    return next((one for one in bindings if one.number == number), None)
