"""Which certificate of a hive the user trusts: what the system trusts, a fingerprint that was told, or one seen now."""

from __future__ import annotations

import sys

import click

from skep.base.errors import UntrustedCertificate
from skep.client.hive import Hive
from skep.client.transport import certificate_of, parse_address, read_fingerprint, shown_fingerprint

fingerprint_option = click.option(
    "--fingerprint", metavar="SHA256", help="Trust the certificate with this fingerprint alone, whoever signed it."
)


def trusted(url: str, fingerprint: str | None) -> str | None:
    """The fingerprint to pin for a hive, as 64 hex digits; None: what the system trusts is enough.

    Asks about a certificate that nobody vouches for, if somebody is there to answer. Raises UntrustedCertificate,
    click.Abort on no.
    """
    if fingerprint is not None:
        return read_fingerprint(fingerprint)
    address = parse_address(url)
    if address.scheme != "https":
        return None
    try:
        with Hive.connect(url, None) as hive:
            hive.caller.transport.exchange("GET", "/healthz").close()
    except UntrustedCertificate:
        found = certificate_of(address)
        shown = shown_fingerprint(found)
        if not sys.stdin.isatty():
            raise UntrustedCertificate(
                f"{address.url} has a certificate that nobody vouches for. If its fingerprint is the one that the hive "
                f"printed, give --fingerprint {shown}",
                sha256=found,
            ) from None
        said = f"{address.url} has a certificate that nobody vouches for. Its SHA-256 fingerprint is"
        click.echo(f"{said}\n\n  {shown}", err=True)
        click.confirm("\nIs this what the hive printed when it started? Trust it from now on", abort=True, err=True)
        return found
    return None
