"""The frozen vectors of the key and record formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skep.crypto import DomainKeys, MasterKey, open_record, public_domain_keys, seal_record

VECTORS = Path(__file__).parents[2] / "vectors"
unhex = bytes.fromhex


def cases(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())["cases"]


def shown(keys: DomainKeys) -> dict[str, Any]:
    names = ("domain_id", "id_key", "seal_key", "nonce_key")
    return {name: getattr(keys, name).hex() for name in names} | {
        "generation": keys.generation,
        "cut_seed": keys.cut_seed,
    }


def test_master_key() -> None:
    case = cases("keys")["master"]
    key = MasterKey(unhex(case["master"]))
    assert key.text() == case["text"]
    assert key.key_check().hex() == case["key_check"]
    assert {name: getattr(key.hive_keys(), name).hex() for name in case["hive_keys"]} == case["hive_keys"]


def test_passphrase() -> None:
    case = cases("keys")["passphrase"]
    assert MasterKey.from_passphrase(case["passphrase"], unhex(case["salt"])).text() == case["master_text"]


def test_wrapped_secret_still_opens() -> None:
    case = cases("keys")["wrapped"]
    key = MasterKey(unhex(case["master"]))
    assert key.unwrap(unhex(case["sealed"]), case["purpose"].encode()).hex() == case["plain"]


def test_domain_keys() -> None:
    for case in cases("keys")["domains"]:
        keys = DomainKeys.derive(unhex(case["domain_id"]), case["generation"], unhex(case.pop("secret")))
        assert shown(keys) == case
    assert shown(public_domain_keys()) == cases("keys")["public"]


def test_sealed_records() -> None:
    for case in cases("sealed-record"):
        key, aad, plain = unhex(case["key"]), unhex(case["aad"]), unhex(case["plain"])
        assert open_record(key, unhex(case["sealed"]), aad) == plain
        assert seal_record(key, plain, aad, salt=unhex(case["salt"])).hex() == case["sealed"]
