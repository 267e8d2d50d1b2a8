from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from skep.base.errors import CorruptRecord, KeyMissing, KeyWrong, Misconfigured
from skep.crypto.keys import PUBLIC_DOMAIN_ID, DomainKeys, MasterKey, public_domain_keys

MASTER = MasterKey(bytes(range(32)))


def test_text_form_comes_back_and_notices_typing_errors() -> None:
    text = MASTER.text()
    assert MasterKey.from_text(f"  {text}\n").key_check() == MASTER.key_check()
    for position in range(len(text)):
        other = "0" if text[position] != "0" else "1"
        with pytest.raises(KeyWrong):
            MasterKey.from_text(text[:position] + other + text[position + 1 :])


@pytest.mark.parametrize("text", ["", "hello", "skep-master-1-", "skep-master-1-00-00", "skep-master-2-" + "00" * 32])
def test_other_text_is_no_master_key(text: str) -> None:
    with pytest.raises(KeyWrong, match="not a master key"):
        MasterKey.from_text(text)


def test_keys_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(KeyWrong):
        MasterKey(bytes(31))


def test_created_keys_differ() -> None:
    assert MasterKey.create().key_check() != MasterKey.create().key_check()


def test_passphrase_needs_text_and_a_salt_and_gives_one_key_for_both() -> None:
    salt = bytes(16)
    assert MasterKey.from_passphrase("a b", salt).key_check() == MasterKey.from_passphrase("a b", salt).key_check()
    assert MasterKey.from_passphrase("a c", salt).key_check() != MasterKey.from_passphrase("a b", salt).key_check()
    with pytest.raises(Misconfigured):
        MasterKey.from_passphrase("", salt)
    with pytest.raises(Misconfigured):
        MasterKey.from_passphrase("a b", b"short")


def test_wrapped_secrets_open_for_their_key_and_purpose_only() -> None:
    sealed = MASTER.wrap(b"secret", b"domain 1")
    assert MASTER.unwrap(sealed, b"domain 1") == b"secret"
    with pytest.raises(KeyWrong, match="give the key that this hive was made with"):
        MasterKey(bytes(32)).unwrap(sealed, b"domain 1")
    with pytest.raises(CorruptRecord):
        MASTER.unwrap(sealed, b"domain 2")
    with pytest.raises(CorruptRecord):
        MASTER.unwrap(sealed[:-1], b"domain 1")
    with pytest.raises(CorruptRecord):
        MASTER.unwrap(sealed[:7], b"domain 1")


def test_key_check_recognises_a_wrong_key() -> None:
    MASTER.require(MASTER.key_check())
    with pytest.raises(KeyWrong, match="not the one this hive was made with"):
        MasterKey(bytes(32)).require(MASTER.key_check())


def test_all_derived_keys_differ() -> None:
    hive = dataclasses.asdict(MASTER.hive_keys())
    domain = DomainKeys.derive(bytes(16), 1, bytes(range(32)))
    keys = [*hive.values(), domain.id_key, domain.seal_key, domain.nonce_key, MASTER.key_check()]
    assert len(set(keys)) == len(keys) == 9
    assert all(len(key) == 32 for key in keys)


def test_domain_keys_depend_on_domain_generation_and_secret() -> None:
    base = DomainKeys.derive(bytes(16), 1, bytes(32))
    for other in (
        DomainKeys.derive(bytes(15) + b"1", 1, bytes(32)),
        DomainKeys.derive(bytes(16), 2, bytes(32)),
        DomainKeys.derive(bytes(16), 1, bytes(31) + b"1"),
    ):
        assert not {base.id_key, base.seal_key, base.nonce_key} & {other.id_key, other.seal_key, other.nonce_key}
        assert base.cut_seed != other.cut_seed
    assert 0 <= base.cut_seed < 1 << 63


def test_the_public_domain_is_one() -> None:
    assert public_domain_keys() == public_domain_keys()
    assert public_domain_keys().domain_id == PUBLIC_DOMAIN_ID
    assert len(PUBLIC_DOMAIN_ID) == 16


def test_secrets_do_not_show_in_representations() -> None:
    domain = DomainKeys.derive(bytes(16), 1, bytes(range(32)))
    shown = repr(MASTER) + repr(MASTER.hive_keys()) + repr(domain)
    for secret in (bytes(range(32)), MASTER.hive_keys().index_key, domain.seal_key):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert str(domain.cut_seed) not in shown


def test_key_file_is_private_complete_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    MASTER.write_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert MasterKey.from_file(path).key_check() == MASTER.key_check()
    with pytest.raises(Misconfigured, match="never overwritten"):
        MasterKey.create().write_file(path)
    assert MasterKey.from_file(str(path)).key_check() == MASTER.key_check()
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]


def test_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    MASTER.write_file(path)
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        MasterKey.from_file(path)


def test_missing_and_wrong_key_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with pytest.raises(KeyMissing, match="backup"):
        MasterKey.from_file(path)
    path.touch(0o600)
    path.write_bytes(b"\xff\xfe something else")
    with pytest.raises(KeyWrong):
        MasterKey.from_file(path)
    with pytest.raises(Misconfigured, match="cannot be written"):
        MASTER.write_file(tmp_path / "missing" / "master.key")
