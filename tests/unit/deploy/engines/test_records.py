"""What is unchanged has the same digest, and what differs in anything has another."""

from __future__ import annotations

import msgspec
import pytest

from skep.deploy.engines.records import JobSpec, Mount, Observed, Restart
from skep.deploy.stack.records import Health, Port

SPEC = JobSpec(image="tree:1", argv=("./serve",), env={"A": "1", "B": "2"}, ports=(Port(number=80),))


def test_equal_specs_have_one_digest_whatever_the_order_of_their_environment() -> None:
    same = msgspec.structs.replace(SPEC, env={"B": "2", "A": "1"})
    assert list(same.env) != list(SPEC.env)
    assert same.digest == SPEC.digest
    assert len(SPEC.digest) == 32


OTHER = {
    "image": "tree:2",
    "argv": ("./serve", "x"),
    "args": ("-v",),
    "env": {"A": "1", "B": "3"},
    "ports": (Port(number=80, host_port=8080),),
    "mounts": (Mount(volume="v", path="/data"),),
    "memory_limit_bytes": 1,
    "cpu_weight_millis": 200,
    "cpu_limit_millis": 1,
    "restart": Restart(policy="never"),
    "health": Health(kind="tcp", port=80),
    "stop_grace_s": 1.0,
}


def test_every_field_counts() -> None:
    assert set(OTHER) == set(JobSpec.__struct_fields__)


@pytest.mark.parametrize("field", sorted(OTHER))
def test_another_value_is_another_digest(field: str) -> None:
    assert msgspec.structs.replace(SPEC, **{field: OTHER[field]}).digest != SPEC.digest


def test_records_read_back_from_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=JobSpec) == SPEC
    assert "last_lines" in Observed.__struct_fields__
