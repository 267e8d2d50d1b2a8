"""Comparing a double's answer with an example from a provider's documentation: the same members, of the same kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

VECTORS = Path(__file__).parents[4] / "tests" / "vectors" / "clouds"
"""In a checkout; the wheel has no tests."""


def examples(provider: str) -> dict[str, Any]:
    """The examples of a provider, by name."""
    found: dict[str, Any] = json.loads((VECTORS / f"{provider}.json").read_text())["examples"]
    return found


def differences(shown: Any, wanted: Any, at: str = "") -> list[str]:
    """What an answer lacks, or has of another kind. What it has beyond the example is fine."""
    if isinstance(wanted, dict):
        if not isinstance(shown, dict):
            return [f"{at}: {type(shown).__name__} instead of an object"]
        found = [f"{at}.{name}: missing" for name in wanted if name not in shown]
        return found + [d for n in wanted if n in shown for d in differences(shown[n], wanted[n], f"{at}.{n}")]
    if isinstance(wanted, list):
        if not isinstance(shown, list):
            return [f"{at}: {type(shown).__name__} instead of a list"]
        return differences(shown[0], wanted[0], f"{at}[0]") if shown and wanted else []
    if type(shown) is not type(wanted):
        return [f"{at}: {type(shown).__name__} instead of {type(wanted).__name__}"]
    word = at.endswith((".error_summary", ".code", ".kind", ".error", ".reason", "..tag")) and isinstance(wanted, str)
    if word and str(shown).rstrip("/.").split("/")[:2] != str(wanted).rstrip("/.").split("/")[:2]:
        return [f"{at}: {shown!r} instead of {wanted!r}"]
    return []


def check(answer: httpx.Response, example: dict[str, Any]) -> None:
    """Fails with what differs."""
    assert answer.status_code == example["status"], answer.text
    for name, value in example.get("headers", {}).items():
        assert name in answer.headers, f"no header {name} (as in {value!r})"
    if example.get("body") is not None:
        assert differences(answer.json(), example["body"]) == []
