"""The program that the engines' conformance suite runs: a shell script, for trees and for images with busybox."""

from __future__ import annotations

from pathlib import Path

PROGRAM = r"""#!/bin/sh
verb=$1
[ $# -gt 0 ] && shift
stay() { exec sleep 100000; }
starts() {
    echo x >> "$VOLUME_SRV_APP_KEEP/starts"
    count=$(($(wc -l < "$VOLUME_SRV_APP_KEEP/starts")))
    echo "start $count"
}
case $verb in
stay) echo staying; stay ;;
exit) code=$1; shift; for word in "$@"; do echo "$word"; done; exit "$code" ;;
stubborn) trap '' TERM; echo stubborn; while :; do sleep 1000; done ;;
lines) i=1; while [ "$i" -le "$1" ]; do echo "line $i"; i=$((i + 1)); done; echo complaint >&2; stay ;;
remember) starts; stay ;;
flaky) starts; [ "$count" -gt "$1" ] && stay; exit 1 ;;
show) eval "printf '%s\n' \"\$$1\""; stay ;;
serve)
    echo serving
    [ "$1" = late ] && sleep "$2"
    answer=200
    [ "$1" = failing ] && answer=500
    if command -v python3 > /dev/null; then
        exec python3 -I -S -c '
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])), reuse_port=False)
while True:
    connection = server.accept()[0]
    with connection:
        try:
            if connection.recv(4096):
                answer = "HTTP/1.1 %s X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" % sys.argv[2]
                connection.sendall(answer.encode())
        except OSError:
            pass
' "$PORT" "$answer"
    fi
    mkdir -p /tmp/site && [ "$answer" = 200 ] && echo ok > /tmp/site/index.html
    exec busybox httpd -f -p "$PORT" -h /tmp/site
    ;;
*) echo "no verb $verb"; exit 64 ;;
esac
"""


def write_program(directory: Path) -> Path:
    """Put it into a directory as ``program``."""
    path = directory / "program"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path
