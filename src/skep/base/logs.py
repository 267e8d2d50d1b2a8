"""Structured logs: one event a line with fields, request ids, and no secrets.

    log = get_logger("skep.durability")
    with request_context(request_id="0199..."):
        log.info("pack written", pack_id=pack_id, size_bytes=16777216, stores=6)

Fields whose name says that they hold a secret, and bearer or basic credentials inside any text, are
replaced before anything is written. Bytes are shown as hex, long values are cut.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO, cast

import structlog

from skep.base.settings import LogSettings

HIDDEN = "(hidden)"
VALUE_LENGTH_MAX = 2048
_SECRET_NAME = re.compile(
    r"(?:^|_)(password|passphrase|passwd|secret|token|authorization|cookie|credential|credentials|"
    r"(?:master|private|seal|id|nonce|index|shard|session|api|wrapped)_key|keys)(?:$|_(?:text|value|hex|bytes)$)",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE)

_request_id: ContextVar[str] = ContextVar("skep_request_id", default="")

EventFields = MutableMapping[str, Any]


_TOLD_ANYWAY = ("python_multipart", "asyncssh")
"""Libraries that warn of what strangers send: they get an answer, and could fill the disk with lines."""


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up logging for the process; ``stream`` is standard error unless given. Safe to call again."""
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    as_json = settings.format == "json" or (settings.format == "auto" and not target.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _add_request_id,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(level)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``area=name``."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(area=name))


class request_context:
    """Give every line logged inside the block, in this task and those it starts, this request id."""

    __slots__ = ("_before", "_request_id")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def __enter__(self) -> None:
        self._before = _request_id.set(self._request_id)

    def __exit__(self, *failure: object) -> None:
        _request_id.reset(self._before)


def current_request_id() -> str:
    """The id of the request that is being worked on, or an empty text."""
    return _request_id.get()


def _add_request_id(_logger: object, _method: str, fields: EventFields) -> EventFields:
    if request_id := _request_id.get():
        fields["request_id"] = request_id
    return fields


def redact(_logger: object, _method: str, fields: EventFields) -> EventFields:
    """Hide secrets by the name of their field and by their form, and shorten what is long."""
    for name, value in fields.items():
        fields[name] = HIDDEN if _SECRET_NAME.search(name) else _clean(value)
    return fields


def _clean(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value[:64]).hex()
    if isinstance(value, dict) and depth < 4:
        return {
            name: HIDDEN if _SECRET_NAME.search(str(name)) else _clean(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < 4:
        return [_clean(inner, depth + 1) for inner in list(value)[:100]]
    return value


def redact_text(text: str) -> str:
    """A text without credentials, tokens and passwords in URLs, at most ``VALUE_LENGTH_MAX`` long, in one line.

    Tracebacks keep their lines and their length.
    """
    clean = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", _JWT.sub(HIDDEN, _CREDENTIAL.sub(rf"\1 {HIDDEN}", text)))
    if clean.startswith("Traceback"):
        return clean
    return clean if len(clean) <= VALUE_LENGTH_MAX else clean[:VALUE_LENGTH_MAX] + "…"


class _ToStructlog(logging.Handler):
    """Hands records of libraries that use the standard module to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _adopt_standard_logging(level: int) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _ToStructlog):
            root.removeHandler(handler)
    root.addHandler(_ToStructlog())
    root.setLevel(max(level, logging.INFO))
    for noisy in ("httpx", "httpcore", "hpack", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for told in _TOLD_ANYWAY:
        logging.getLogger(told).setLevel(logging.ERROR)
