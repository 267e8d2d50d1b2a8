"""Reads one order and answers it: JSON in, JSON out; for a refusal ``{"error": …, "message": …}`` and exit code 3."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Optional

from skephost import verbs  # type: ignore[import-not-found]
from skephost.processes import Refused  # type: ignore[import-not-found]


def answer(root: str, verb: str, order: dict[str, Any]) -> Any:
    """What a verb gives."""
    if verb == "facts":
        return verbs.facts(root)
    if verb == "list":
        return verbs.list_jobs(root, order["stack"])
    if verb == "ensure":
        return verbs.ensure(root, order)
    if verb == "stop":
        return verbs.stop(root, order["id"], order["grace_s"])
    if verb == "remove":
        return verbs.remove(root, order["id"])
    if verb == "inspect":
        return verbs.look(root, order["id"], with_lines=True)
    if verb == "volume":
        return verbs.volume(root, order["verb"], order["name"])
    if verb == "exec":
        from skephost import streams

        return streams.execute(root, order)
    raise Refused("bad-input", f"there is no verb {verb}")


def flow(root: str, verb: str, words: list[str]) -> Any:
    """What the verbs give that stream: a value, or an exit code when they have written themselves."""
    from skephost import streams  # late, with all that it needs: most verbs are over before that would be read

    if verb == "unpack":
        return streams.unpack_helper(words[0])
    if verb == "take":
        return streams.take_image(root, words[0], words[1])
    if verb == "logs":
        return streams.logs(root, words[0], int(words[1]), words[2] == "follow")
    return streams.events(root)


def command(root: str, words: list[str]) -> int:
    """Do what a command line says, with standard input and output; its exit code."""
    verb, *words = words
    try:
        if verb == "has":
            value: Any = os.path.isdir(f"{root}/images/{words[0]}")
        elif verb in ("unpack", "take", "logs", "events"):
            value = flow(root, verb, words)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        else:
            value = answer(root, verb, json.load(sys.stdin))
    except Refused as error:
        print(json.dumps({"error": error.code, "message": str(error)}))
        return 3
    print(json.dumps(value))
    return 0


def quick(root: str, words: list[str], body: bytes) -> Optional[bytes]:
    """What a look says that waits for nobody; None for all else, also what goes wrong: a verb of its own tells that."""
    try:
        if words[0] == "has":
            return json.dumps(os.path.isdir(f"{root}/images/{words[1]}")).encode()
        if words[0] == "inspect":
            job_id = json.loads(body)["id"]
            if verbs.is_supervised(f"{root}/jobs/{job_id}"):
                return json.dumps(verbs.look(root, job_id, with_lines=True)).encode()
    except Exception:
        return None
    return None


def stay(root: str) -> int:
    """Take orders until HQ goes away."""
    import gc

    from skephost import serving, streams, supervising  # noqa: F401 - the verbs that are forked have them

    gc.freeze()
    code: int = serving.Server(lambda words: command(root, words), lambda words, body: quick(root, words, body)).serve()
    return code


def main() -> int:
    """Run a command line."""
    _, root, *words = sys.argv
    root = os.path.abspath(root)
    return stay(root) if words == ["serve"] else command(root, words)


if __name__ == "__main__":
    sys.exit(main())
