"""Passkeys, with an authenticator in software that somebody else wrote."""

from __future__ import annotations

import base64

import pytest
from soft_webauthn import SoftWebauthnDevice

from skep.base.errors import (
    AlreadyExists,
    BadCredentials,
    BadInput,
    InvalidToken,
    NotFound,
    RateLimited,
    SecondFactorNeeded,
)
from skep.testing.accounts import PASSWORD, open_auth

ORIGIN = "https://hive.example"


@pytest.fixture
async def bench(tmp_path):
    async with open_auth(tmp_path, public_url=ORIGIN) as opened:
        yield opened


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def plain(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def as_json(made: dict) -> dict:
    """What a browser's toJSON makes of a credential."""
    response = {name: b64(value) for name, value in made["response"].items() if value is not None}
    return {"id": b64(made["rawId"]), "rawId": b64(made["rawId"]), "type": made["type"], "response": response}


class Device(SoftWebauthnDevice):
    """One passkey, driven by the options that the hive gives."""

    def make(self, options: dict, origin: str = ORIGIN) -> dict:
        user = {**options["user"], "id": plain(options["user"]["id"])}
        known = [{"alg": one["alg"], "type": one["type"]} for one in options["pubKeyCredParams"]]
        asked = {**options, "challenge": plain(options["challenge"]), "user": user, "pubKeyCredParams": known}
        return as_json(self.create({"publicKey": {**asked, "attestation": "none"}}, origin))

    def sign(self, options: dict, origin: str = ORIGIN) -> dict:
        return as_json(self.get({"publicKey": {**options, "challenge": plain(options["challenge"])}}, origin))


async def with_passkey(bench, name: str = "ada") -> tuple:
    await bench.user(name)
    principal, device = await bench.principal(name), Device()
    ticket, options = await bench.auth.begin_passkey(principal, PASSWORD, "key ring")
    info, codes = await bench.auth.finish_passkey(principal, ticket, device.make(options))
    assert (info.kind, info.name, len(codes)) == ("passkey", "key ring", 10)
    return principal, device, codes


async def asked(bench, name: str = "ada") -> str:
    with pytest.raises(SecondFactorNeeded) as needed:
        await bench.auth.login(name, PASSWORD)
    assert needed.value.details["methods"] == ["passkey", "recovery"]
    return needed.value.details["question"]


async def test_a_passkey_answers_the_question_of_a_login(bench):
    _, device, codes = await with_passkey(bench)
    question = await asked(bench)
    pair = await bench.auth.answer_passkey(question, device.sign(await bench.auth.ask_passkey(question)))
    assert (await bench.auth.authenticate_token(pair.access_token)).name == "ada"
    with pytest.raises(InvalidToken):
        await bench.auth.ask_passkey(question)
    await bench.auth.login("ada", PASSWORD, code=codes[0])


async def test_a_count_that_goes_back_is_a_copy(bench):
    _, device, _ = await with_passkey(bench)
    for _ in range(2):
        question = await asked(bench)
        await bench.auth.answer_passkey(question, device.sign(await bench.auth.ask_passkey(question)))
    device.sign_count = 0
    for _ in range(2):  # 1, then 2: both were seen
        question = await asked(bench)
        with pytest.raises(BadCredentials, match="copy"):
            await bench.auth.answer_passkey(question, device.sign(await bench.auth.ask_passkey(question)))
    newest = (await bench.auth.list_audit(bench.root, limit=1))[0]
    assert (newest.action, newest.subject.name) == ("passkey-copied", "ada")
    question = await asked(bench)
    await bench.auth.answer_passkey(question, device.sign(await bench.auth.ask_passkey(question)))  # 3


async def test_a_device_that_never_counts_is_taken(bench):
    _, device, _ = await with_passkey(bench)
    for _ in range(2):
        device.sign_count = -1  # the device adds one
        question = await asked(bench)
        await bench.auth.answer_passkey(question, device.sign(await bench.auth.ask_passkey(question)))


async def test_a_signature_is_of_this_question_once(bench):
    _, device, _ = await with_passkey(bench)
    first, second = await asked(bench), await asked(bench)
    signed = device.sign(await bench.auth.ask_passkey(first))
    with pytest.raises(InvalidToken):
        await bench.auth.answer_passkey(second, signed)  # never asked
    await bench.auth.ask_passkey(second)
    with pytest.raises(BadCredentials):
        await bench.auth.answer_passkey(second, signed)
    await bench.auth.answer_passkey(first, signed)
    with pytest.raises(InvalidToken):
        await bench.auth.answer_passkey(first, signed)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://hive.example", "https://hive.example:444"])
async def test_pages_of_others_cannot_use_it(bench, origin):
    principal, device, _ = await with_passkey(bench)
    question = await asked(bench)
    with pytest.raises(BadCredentials):
        await bench.auth.answer_passkey(question, device.sign(await bench.auth.ask_passkey(question), origin))
    ticket, options = await bench.auth.begin_passkey(principal, PASSWORD)
    with pytest.raises(BadCredentials):
        await bench.auth.finish_passkey(principal, ticket, Device().make(options, origin))


async def test_the_passkey_of_another_proves_nothing(bench):
    ada, _, _ = await with_passkey(bench)
    bob, bobs, _ = await with_passkey(bench, "bob")
    question = await asked(bench)
    with pytest.raises(BadCredentials):
        await bench.auth.answer_passkey(question, bobs.sign(await bench.auth.ask_passkey(question)))
    ticket, options = await bench.auth.begin_passkey(bob, PASSWORD)
    with pytest.raises(InvalidToken):
        await bench.auth.finish_passkey(ada, ticket, Device().make(options))


def rubbish() -> list[dict]:
    deep: dict = {}
    for _ in range(50):
        deep = {"a": deep}
    return [
        {},
        {"id": 1, "rawId": None},
        {"id": "x", "rawId": "x", "type": "public-key", "response": []},
        {"id": "x", "rawId": "eA", "type": "public-key", "response": {"clientDataJSON": "", "attestationObject": ""}},
        {
            "id": "eA",
            "rawId": "eA",
            "type": "public-key",
            "response": {"clientDataJSON": "e30", "userHandle": "\ud800"},
        },
        {"rawId": "a" * 5000},
        deep,
    ]


@pytest.mark.parametrize("credential", rubbish(), ids=range(len(rubbish())))
async def test_rubbish_is_refused(bench, credential):
    principal, _, _ = await with_passkey(bench)
    ticket, _ = await bench.auth.begin_passkey(principal, PASSWORD)
    with pytest.raises((BadCredentials, BadInput)):
        await bench.auth.finish_passkey(principal, ticket, credential)
    question = await asked(bench)
    await bench.auth.ask_passkey(question)
    with pytest.raises((BadCredentials, BadInput)):
        await bench.auth.answer_passkey(question, credential)
    name, _ = await bench.auth.begin_passkey_login()
    with pytest.raises((BadCredentials, BadInput)):
        await bench.auth.login_passkey(name, credential)


def verified(device: Device, options: dict) -> dict:
    """A signature whose device says that it has verified its user: the flag is part of what is signed."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signed = device.sign(options)
    data = bytearray(plain(signed["response"]["authenticatorData"]))
    data[32] |= 0x04
    digest = hashes.Hash(hashes.SHA256())
    digest.update(plain(signed["response"]["clientDataJSON"]))
    signature = device.private_key.sign(bytes(data) + digest.finalize(), ec.ECDSA(hashes.SHA256()))
    signed["response"] |= {"authenticatorData": b64(bytes(data)), "signature": b64(signature)}
    return signed


async def test_in_place_of_the_password_the_device_must_have_verified_its_user(bench):
    principal, device, _ = await with_passkey(bench)
    name, options = await bench.auth.begin_passkey_login("browser", "192.0.2.1")
    assert (options["userVerification"], options["allowCredentials"]) == ("required", [])
    with pytest.raises(BadCredentials):
        await bench.auth.login_passkey(name, device.sign(options), "192.0.2.1")
    name, options = await bench.auth.begin_passkey_login("browser", "192.0.2.1")
    signed = verified(device, options)
    pair = await bench.auth.login_passkey(name, signed, "192.0.2.1")
    assert (await bench.auth.authenticate_token(pair.access_token)).user_id == principal.user_id
    with pytest.raises(InvalidToken):
        await bench.auth.login_passkey(name, signed, "192.0.2.1")
    await bench.auth.suspend_user(bench.root, "ada")
    name, options = await bench.auth.begin_passkey_login()
    with pytest.raises(BadCredentials):
        await bench.auth.login_passkey(name, verified(device, options))


async def test_questions_to_strangers_are_limited_by_address(bench):
    for _ in range(60):
        await bench.auth.begin_passkey_login("", "192.0.2.1")
    with pytest.raises(RateLimited):
        await bench.auth.begin_passkey_login("", "192.0.2.1")
    await bench.auth.begin_passkey_login("", "192.0.2.2")


async def test_one_passkey_is_added_once(bench):
    principal, device, _ = await with_passkey(bench)
    ticket, options = await bench.auth.begin_passkey(principal, PASSWORD)
    assert [one["id"] for one in options["excludeCredentials"]] == [b64(device.credential_id)]
    kept, key = device.credential_id, device.private_key
    device.cred_init = lambda rp_id, handle: None  # the same key again
    with pytest.raises(AlreadyExists):
        await bench.auth.finish_passkey(principal, ticket, device.make(options))
    assert (device.credential_id, device.private_key) == (kept, key)
    with pytest.raises(BadCredentials):
        await bench.auth.begin_passkey(principal, "wrong password")


async def test_without_an_address_of_its_own_a_hive_has_no_passkeys(tmp_path):
    async with open_auth(tmp_path) as bench:
        await bench.user("ada")
        with pytest.raises(NotFound):
            await bench.auth.begin_passkey(await bench.principal("ada"), PASSWORD)


async def test_what_is_kept_is_sealed(bench, tmp_path):
    _, device, _ = await with_passkey(bench)
    await bench.db.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("hive.db*"))
    assert b"key ring" in raw
    assert device.credential_id not in raw
