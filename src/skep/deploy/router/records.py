"""What the router serves, as frozen records."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import msgspec

from skep.base.errors import BadInput

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,127}$")
_LABEL = re.compile(r"^(?!-)[a-z0-9-]{1,63}(?<!-)$")
_HOST = re.compile(r"^[A-Za-z0-9._:-]{1,253}$")
BACKENDS_MAX = 1000


class Backend(msgspec.Struct, frozen=True, order=True):
    """Where one slice of a web job listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Certificate(msgspec.Struct, frozen=True):
    """Files on the router's host: the chain, leaf first, and its key, both PEM."""

    chain_path: str
    key_path: str


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One job's domains and what answers there: its backends, or the files of ``document_root`` on the router's host.

    ``https_only``: plain HTTP is sent to HTTPS, which needs a certificate.
    """

    job: str
    domains: tuple[str, ...]
    backends: tuple[Backend, ...] = ()
    document_root: str = ""
    certificate: Certificate | None = None
    https_only: bool = False


def check_site(site: Site) -> None:
    """Raises BadInput for what must not get into a configuration: names, paths and hosts are matched whole."""
    if not _NAME.match(site.job):
        raise BadInput(f"{site.job!r} is no name of a job")
    if not site.domains:
        raise BadInput(f"site {site.job} has no domain: nobody could reach it")
    for domain in site.domains:
        check_domain(domain)
    if len(set(site.domains)) != len(site.domains):
        raise BadInput(f"site {site.job} names a domain twice")
    if len(site.backends) > BACKENDS_MAX:
        raise BadInput(f"site {site.job} has {len(site.backends)} backends; {BACKENDS_MAX} are the most")
    for backend in site.backends:
        if not _HOST.match(backend.host) or not 1 <= backend.port <= 65_535:
            raise BadInput(f"{backend} is not where a job of {site.job} can listen")
    paths = [site.document_root] if site.document_root else []
    if site.certificate:
        paths += [site.certificate.chain_path, site.certificate.key_path]
    for path in paths:
        _check_path(path)
    if site.https_only and site.certificate is None:
        raise BadInput(f"site {site.job} wants HTTPS alone and has no certificate")


def check_stack(name: str) -> None:
    """Raises BadInput for what is no name of a stack."""
    if not _NAME.match(name) or ".." in name:
        raise BadInput(f"{name!r} is no name of a stack")


def check_domain(domain: str) -> None:
    """Raises BadInput unless it is a lower-case domain, whose first label may be ``*``."""
    labels = domain.split(".")
    if labels[0] == "*" and len(labels) > 1:
        labels = labels[1:]
    if len(domain) > 253 or not all(_LABEL.match(label) for label in labels):
        raise BadInput(f"{domain!r} is no domain: write it like app.example.org or *.example.org")


def _check_path(path: str) -> None:
    parts = PurePosixPath(path)
    if not parts.is_absolute() or ".." in parts.parts or not path.isprintable():
        raise BadInput(f"{path!r} is not an absolute path")
