"""What git runs before it takes a push: asks HQ over its socket, shows what HQ says, and ends as HQ decides.

Run as a program by the Python that runs HQ, with the standard library alone, so that it starts in no time.
"""

import json
import os
import socket
import sys

UPDATES_MAX_BYTES = 1 << 20


def main() -> int:
    """0: git may move the branches. Anything else: it may not."""
    updates = [line.split() for line in sys.stdin.read(UPDATES_MAX_BYTES).splitlines()]
    folder, name = os.path.split(os.environ["SKEP_HQ_SOCKET"])
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    order = {
        "command": "hook",
        "token": os.environ["SKEP_HQ_PUSH"],
        "updates": updates,
        "objects": os.environ.get("GIT_OBJECT_DIRECTORY", ""),
        "alternates": os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", ""),
    }
    try:
        with socket.socket(socket.AF_UNIX) as hq:
            hq.connect(f"/proc/self/fd/{descriptor}/{name}")
            hq.sendall(json.dumps(order).encode() + b"\n")
            for line in hq.makefile("rb"):
                told = json.loads(line)
                if "say" in told:
                    sys.stderr.write(told["say"] + "\n")
                    sys.stderr.flush()
                else:
                    return 0 if told.get("result", {}).get("ok") else 1
    except OSError as error:
        sys.stderr.write(f"HQ does not answer: {error}\n")
        return 1
    sys.stderr.write("HQ went away before the verdict: what ran before runs on, or the new release is there whole\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
