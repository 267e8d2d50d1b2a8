"""The frozen vectors of the agent link (docs/formats/agent-link.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skep.base.errors import MalformedRequest
from skep.crypto.signatures import SigningKey
from skep.stores.link.frames import Kind, decode, encode, encode_data, encode_window
from skep.stores.link.handshake import agent_text, audit_digest, enrolment_text, hive_text
from skep.stores.link.messages import Challenge, Hello, Proof, Request, Response, read_message

CASES: dict[str, Any] = json.loads((Path(__file__).parents[3] / "vectors" / "agent-link.json").read_text())["cases"]
unhex = bytes.fromhex


@pytest.mark.parametrize("case", CASES["frames"], ids=lambda case: case["name"])
def test_frames(case: dict[str, Any]) -> None:
    raw, payload = unhex(case["frame"]), unhex(case["payload"])
    frame = decode(raw)
    assert (frame.kind.name, frame.stream, frame.end) == (case["kind"], case["stream"], case["end"])
    assert bytes(frame.payload) == payload
    assert encode(Kind[case["kind"]], payload, stream=case["stream"], end=case["end"]) == raw


def test_a_window_and_data_of_pieces_are_the_same_frames() -> None:
    by_name = {case["name"]: unhex(case["frame"]) for case in CASES["frames"]}
    assert encode_window(7, 65_536) == by_name["window"]
    assert encode_data([b"sh", memoryview(b"ard")], stream=7, end=True) == by_name["data"]


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["why"])
def test_what_is_no_frame_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        decode(unhex(case["frame"]))


def test_the_handshake() -> None:
    case = CASES["handshake"]
    hive, agent = SigningKey(unhex(case["hive_seed"])), SigningKey(unhex(case["agent_seed"]))
    hello = read_message(case["hello"].encode(), Hello)
    challenge = read_message(case["challenge"].encode(), Challenge)
    proof = read_message(case["proof"].encode(), Proof)
    hive_id, nonce = unhex(case["hive_id"]), unhex(challenge.nonce)
    assert hive_text(hive_id, nonce, hello, 1).hex() == case["hive_text"]
    assert hive.sign(unhex(case["hive_text"])).hex() == challenge.signature
    text = agent_text(hive_id, nonce, hello, 1, proof.certificate, proof.generation)
    assert text.hex() == case["agent_text"]
    assert agent.sign(text).hex() == proof.signature


def test_enrolment() -> None:
    case = CASES["enrolment"]
    key = SigningKey(unhex(case["seed"]))
    text = enrolment_text(unhex(case["token_hash"]), key.verify_key.raw)
    assert text.hex() == case["text"]
    assert key.sign(text).hex() == case["signature"]


def test_an_audit() -> None:
    case = CASES["audit"]
    content = unhex(case["content"])
    ranges = [(offset, length) for offset, length in case["ranges"]]
    pieces = [content[offset : offset + length] for offset, length in ranges]
    assert audit_digest(unhex(case["nonce"]), ranges, pieces).hex() == case["digest"]
    pieces[1] = bytes(len(pieces[1]))
    assert audit_digest(unhex(case["nonce"]), ranges, pieces).hex() != case["digest"]


def test_requests_and_responses() -> None:
    for case in CASES["requests"]:
        request = read_message(case["request"].encode(), Request)
        assert request.verb == case["verb"]
        assert read_message(case["response"].encode(), Response) is not None
