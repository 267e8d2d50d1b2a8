"""SSH keys: reading them, and who comes with one."""

from __future__ import annotations

import asyncssh
import pytest

from skep.auth import Principal
from skep.auth.ssh_keys import fingerprint_of, parse_public_key
from skep.base.errors import AlreadyExists, BadCredentials, BadInput, Forbidden, NotFound
from skep.testing.accounts import AuthBench

ED25519 = asyncssh.generate_private_key("ssh-ed25519", comment="ada at home")
LINE = ED25519.export_public_key().decode()


async def somebody(bench: AuthBench, name: str) -> Principal:
    """A new user, logged in."""
    await bench.user(name)
    return await bench.principal(name)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa"])
def test_keys_are_read_and_named_as_ssh_does(kind: str) -> None:
    key = asyncssh.generate_private_key(kind, **({"key_size": 2048} if kind == "ssh-rsa" else {}))
    found = parse_public_key(key.export_public_key().decode())
    assert (found.kind, found.fingerprint) == (kind, fingerprint_of(key.public_data))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not one SSH public key"),
        ("ssh-dss AAAA", "not one SSH public key"),
        ("ssh-ed25519", "not one SSH public key"),
        (LINE + LINE, "not one SSH public key"),
        ('command="x" ' + LINE, "not one SSH public key"),
        ("ssh-ed25519 " + "A" * 20_000, "not one SSH public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", "damaged"),
        ("ssh-ed25519 !!!!", "damaged"),
        (LINE.replace("ssh-ed25519", "ssh-rsa", 1), "damaged"),
        (ED25519.export_private_key().decode(), "private key"),
        (asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_public_key().decode(), "too weak"),
    ],
    ids=("empty", "kind", "alone", "two", "options", "long", "short", "letters", "other-kind", "private", "weak"),
)
def test_what_is_no_good_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        parse_public_key(text)


async def test_a_key_acts_for_its_user_until_it_is_removed(bench: AuthBench) -> None:
    auth, ada = bench.auth, await somebody(bench, "ada")
    made = await auth.add_ssh_key(ada, LINE, scopes={"files:read"})
    assert made.name == "ada at home"
    assert made.fingerprint == ED25519.get_fingerprint()
    fingerprint = fingerprint_of(ED25519.public_data)
    principal = await auth.authenticate_ssh_key("ADA", fingerprint)
    assert (principal.user_id, principal.scopes, principal.kind) == (ada.user_id, {"files:read"}, "ssh")
    assert (await auth.list_ssh_keys(ada))[0].last_used_us is not None
    await auth.remove_ssh_key(ada, made.id)
    with pytest.raises(BadCredentials):
        await auth.authenticate_ssh_key("ada", fingerprint)
    with pytest.raises(NotFound):
        await auth.remove_ssh_key(ada, made.id)


async def test_whose_key_it_is(bench: AuthBench) -> None:
    auth, ada, bob = bench.auth, await somebody(bench, "ada"), await somebody(bench, "bob")
    await auth.add_ssh_key(ada, LINE)
    fingerprint = fingerprint_of(ED25519.public_data)
    for name in ("bob", "nobody", "", "x" * 300):
        with pytest.raises(BadCredentials):
            await auth.authenticate_ssh_key(name, fingerprint)
    with pytest.raises(AlreadyExists):
        await auth.add_ssh_key(ada, LINE, "again")
    await auth.add_ssh_key(bob, LINE)
    assert (await auth.authenticate_ssh_key("bob", fingerprint)).user_id == bob.user_id
    with pytest.raises(Forbidden):
        await auth.list_ssh_keys(bob, ada.user_id)


async def test_a_key_gets_no_scope_that_its_maker_lacks(bench: AuthBench) -> None:
    auth, ada = bench.auth, await somebody(bench, "ada")
    with pytest.raises(Forbidden):
        await auth.add_ssh_key(ada, LINE, scopes={"admin"})
