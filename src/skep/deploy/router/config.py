"""Sites as nginx configuration, built as a tree by crossplane: no text is pasted into text.

One main file includes one file for each stack. Requests stream both ways; WebSockets pass; a request that a backend did
not take is given to another when that is safe. A worker that is replaced finishes what it has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import crossplane

from skep.deploy.router.records import Site

Directive = dict[str, Any]
CHALLENGES = "challenges"


def _directive(name: str, *args: str, block: list[Directive] | None = None) -> Directive:
    found: Directive = {"directive": name, "args": list(args)}
    if block is not None:
        found["block"] = block
    return found


def _text(tree: list[Directive]) -> str:
    return cast(str, crossplane.build(tree, indent=2)) + "\n"


def main_config(
    folder: str, *, http_port: int, https_port: int, stacks: str = "stacks", drain_s: int = 3600, user: str = ""
) -> str:
    """The main file of the nginx that lives in ``folder``; ``stacks`` is the folder with a file for each stack.

    ``drain_s``: the longest that a replaced worker may take to finish its responses and WebSockets.
    """
    http = [
        _directive("access_log", f"{folder}/logs/access.log"),
        _directive("default_type", "application/octet-stream"),
        _directive("include", "/etc/nginx/mime.types"),
        _directive("sendfile", "on"),
        _directive("server_tokens", "off"),
        _directive("server_names_hash_bucket_size", "256"),
        _directive("server_names_hash_max_size", "8192"),
        _directive("client_max_body_size", "0"),
        _directive("client_body_timeout", "300s"),
        _directive("send_timeout", "300s"),
        _directive("keepalive_timeout", "75s"),
        *(
            _directive(f"{kind}_temp_path", f"{folder}/bodies/{kind}")
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
        _directive("ssl_protocols", "TLSv1.2", "TLSv1.3"),
        _directive("ssl_session_cache", "shared:skep:8m"),
        _directive(
            "map",
            "$http_upgrade",
            "$skep_connection",
            block=[_directive("default", "upgrade"), _directive("", "")],
        ),
        _directive(
            "server",
            block=[
                _directive("listen", str(http_port), "default_server"),
                _directive("listen", f"[::]:{http_port}", "default_server"),
                _directive("server_name", "_"),
                _challenges(folder),
                _directive(
                    "location",
                    "/",
                    block=[
                        _directive("default_type", "text/plain"),
                        _directive("return", "404", "no site has this name\n"),
                    ],
                ),
            ],
        ),
        _directive(
            "server",
            block=[
                _directive("listen", str(https_port), "ssl", "default_server"),
                _directive("listen", f"[::]:{https_port}", "ssl", "default_server"),
                _directive("ssl_reject_handshake", "on"),
            ],
        ),
        _directive("include", f"{folder}/{stacks}/*.conf"),
    ]
    tree = [
        *([_directive("user", user)] if user else []),
        _directive("worker_processes", "auto"),
        _directive("worker_shutdown_timeout", f"{drain_s}s"),
        _directive("worker_rlimit_nofile", "16384"),
        _directive("pid", f"{folder}/{'nginx' if stacks == 'stacks' else 'staged'}.pid"),
        _directive("error_log", f"{folder}/logs/error.log", "warn"),
        _directive("events", block=[_directive("worker_connections", "4096")]),
        _directive("http", block=http),
    ]
    return _text(tree)


def stack_config(stack: str, sites: Sequence[Site], *, folder: str, http_port: int, https_port: int) -> str:
    """The file of one stack. The caller has checked names, domains and paths."""
    tree: list[Directive] = []
    for site in sites:
        upstream = f"{stack}.{site.job}"
        if site.backends and not site.document_root:
            servers = [_directive("server", str(one), "max_fails=0") for one in sorted(site.backends)]
            tree.append(_directive("upstream", upstream, block=[*servers, _directive("keepalive", "32")]))
        content = _content(site, upstream)
        if site.https_only:
            target = "https://$host$request_uri" if https_port == 443 else f"https://$host:{https_port}$request_uri"
            plain = [_directive("location", "/", block=[_directive("return", "308", target)])]
        else:
            plain = content
        tree.append(_server(site, [str(http_port), f"[::]:{http_port}"], [_challenges(folder), *plain]))
        if site.certificate is not None:
            secured = [
                _directive("ssl_certificate", site.certificate.chain_path),
                _directive("ssl_certificate_key", site.certificate.key_path),
            ]
            tree.append(_server(site, [str(https_port), f"[::]:{https_port}"], [*secured, *content], tls=True))
    return _text(tree)


def _server(site: Site, listens: Sequence[str], block: list[Directive], *, tls: bool = False) -> Directive:
    options = ("ssl", "http2") if tls else ()
    return _directive(
        "server",
        block=[
            *(_directive("listen", one, *options) for one in listens),
            _directive("server_name", *site.domains),
            *block,
        ],
    )


def _challenges(folder: str) -> Directive:
    """Where a certificate authority looks whether the domain is ours (RFC 8555, 8.3)."""
    return _directive(
        "location",
        "^~",
        "/.well-known/acme-challenge/",
        block=[_directive("default_type", "text/plain"), _directive("alias", f"{folder}/{CHALLENGES}/")],
    )


def _content(site: Site, upstream: str) -> list[Directive]:
    if site.document_root:
        return [
            _directive("root", site.document_root),
            _directive("index", "index.html", "index.htm"),
            _directive("location", "/", block=[_directive("try_files", "$uri", "$uri/", "=404")]),
        ]
    if not site.backends:
        return [
            _directive(
                "location",
                "/",
                block=[
                    _directive("default_type", "text/plain"),
                    _directive("add_header", "Retry-After", "5", "always"),
                    _directive("return", "503", "nothing runs here at the moment\n"),
                ],
            )
        ]
    headers = {
        "Host": "$http_host",
        "Upgrade": "$http_upgrade",
        "Connection": "$skep_connection",
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$http_host",
    }
    return [
        _directive(
            "location",
            "/",
            block=[
                _directive("proxy_pass", f"http://{upstream}"),
                _directive("proxy_http_version", "1.1"),
                *(_directive("proxy_set_header", name, value) for name, value in headers.items()),
                _directive("proxy_request_buffering", "off"),
                _directive("proxy_buffering", "on"),
                _directive("proxy_max_temp_file_size", "0"),
                _directive("proxy_connect_timeout", "5s"),
                _directive("proxy_read_timeout", "3600s"),
                _directive("proxy_send_timeout", "3600s"),
                _directive("proxy_next_upstream", "error", "timeout"),
                _directive("proxy_next_upstream_tries", "3"),
            ],
        )
    ]
