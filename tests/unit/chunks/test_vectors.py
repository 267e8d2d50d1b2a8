"""The frozen vectors of the chunk formats: bytes that must be readable for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from skep.chunks import (
    HEADER_BYTES,
    ChunkRef,
    Manifest,
    Pack,
    PackBuilder,
    Scheme,
    chunk_id,
    cuts,
    encode_shards,
    etag,
    index_tail_size,
    open_sealed,
    pack_id,
    read_header,
    read_index,
    rebuild_blocks,
    seal_into,
    sealed_bound,
    verify_blocks,
    verify_shard,
)
from skep.chunks.galois import generator
from skep.chunks.gear import plain_cuts
from skep.crypto import DomainKeys

VECTORS = Path(__file__).parents[2] / "vectors"
unhex = bytes.fromhex


def cases(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())["cases"]


def content(case: dict[str, Any], size: str = "content_bytes") -> bytes:
    if "content_zeros" in case:
        return bytes(case["content_zeros"])
    return blake3(case["content_label"].encode()).digest(case[size])


def test_each_format_page_has_vectors() -> None:
    names = {path.stem for path in VECTORS.glob("*.json")}
    pages = {path.stem for path in (VECTORS.parents[1] / "docs" / "formats").glob("*.md")} - {"README"}
    assert pages & {"chunk-id", "sealed-chunk", "pack", "shard", "manifest", "keys", "sealed-record"} <= names


def test_chunk_ids() -> None:
    for case in cases("chunk-id")["ids"]:
        keys = DomainKeys(bytes(16), 1, unhex(case["id_key"]), bytes(32), bytes(32), 0)
        assert chunk_id(keys, content(case)).hex() == case["id"]


def test_cuts() -> None:
    for case in cases("chunk-id")["cuts"]:
        assert cuts(content(case), case["cut_seed"]) == case["ends"]


def test_cuts_of_the_twin() -> None:
    case = cases("chunk-id")["cuts"][2]
    assert list(plain_cuts(content(case), case["cut_seed"])) == case["ends"]


@pytest.mark.parametrize("case", cases("sealed-chunk"), ids=lambda case: f"{case['name']}-{case['generation']}")
def test_sealed_chunks(case: dict[str, Any]) -> None:
    keys = DomainKeys.derive(unhex(case["domain_id"]), case["generation"], unhex(case["secret"]))
    plain = bytes(case["plain_zeros"]) if case["plain"] is None else unhex(case["plain"])
    name = chunk_id(keys, plain)
    assert name.hex() == case["id"]
    assert open_sealed(keys, name, unhex(case["sealed"])) == plain
    if case["codec"] == 0:
        out = bytearray(sealed_bound(len(plain)))
        size = seal_into(keys, name, plain, memoryview(out), case["level"])
        assert out[:size].hex() == case["sealed"]


def test_packs() -> None:
    for case in cases("pack"):
        data, key = unhex(case["pack"]), unhex(case["index_key"])
        tail = data[-index_tail_size(data[-16:]) :]
        assert pack_id(tail).hex() == case["pack_id"]
        found = [
            {
                "domain_id": entry.domain_id.hex(),
                "chunk_id": entry.chunk_id.hex(),
                "offset": entry.offset,
                "size_bytes": entry.size_bytes,
                "plain_bytes": entry.plain_bytes,
            }
            for entry in read_index(key, tail, len(data))
        ]
        assert found == case["entries"]


def test_packs_are_built_the_same() -> None:
    (case,) = cases("pack")
    data, key = unhex(case["pack"]), unhex(case["index_key"])
    tail = data[-index_tail_size(data[-16:]) :]
    builder = PackBuilder(key, index_salt=tail[4:28])
    for entry in read_index(key, tail, len(data)):
        builder.adopt(entry, data[entry.offset : entry.offset + entry.size_bytes])
    assert bytes(builder.close().data) == data


@pytest.mark.parametrize("case", cases("shard"), ids=lambda case: case["scheme"])
def test_shards(case: dict[str, Any]) -> None:
    key, name, scheme = unhex(case["shard_key"]), unhex(case["pack_id"]), Scheme.parse(case["scheme"])
    assert (scheme.data_shards, scheme.parity_shards) == (case["data_shards"], case["parity_shards"])
    data = unhex(cases("pack")[0]["pack"]) if "pack_of" in case else content(case, "pack_size")
    files = [b"".join(shard.parts) for shard in encode_shards(key, Pack(name, memoryview(data)), scheme)]
    if "shards" not in case:
        assert [blake3(raw).hexdigest() for raw in files] == case["shard_blake3"]
        return
    assert [raw.hex() for raw in files] == case["shards"]
    stored = [unhex(text) for text in case["shards"]]
    for number, raw in enumerate(stored):
        assert read_header(raw, key).number == number
        verify_shard(key, name, number, scheme, len(data), raw)
    last = range(scheme.total - scheme.data_shards, scheme.total)
    blocks = {n: verify_blocks(key, name, n, scheme, len(data), 0, stored[n][HEADER_BYTES:]) for n in last}
    made = rebuild_blocks(scheme, blocks, range(scheme.data_shards))
    assert b"".join(made[number] for number in range(scheme.data_shards))[: len(data)] == data


def test_generator_rows() -> None:
    for case in cases("generator"):
        rows = generator(Scheme.of(case["data_shards"], case["parity_shards"]))[case["data_shards"] :]
        assert [row.hex() for row in rows] == case["parity_rows"]


def test_manifests() -> None:
    for case in cases("manifest"):
        manifest = Manifest.of(ChunkRef(unhex(chunk["id"]), chunk["plain_bytes"]) for chunk in case["chunks"])
        assert manifest.encode().hex() == case["encoded"]
        assert Manifest.decode(unhex(case["encoded"])) == manifest
        assert manifest.size_bytes == case["size_bytes"]
        assert etag(manifest) == case["etag"]
