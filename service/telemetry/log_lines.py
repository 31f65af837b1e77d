"""Log lines: one per event on standard error, as JSON or for people, with every secret masked."""

import contextlib
import json
import logging
import sys
from typing import Any, TextIO, cast

import structlog

from service.printable import printable


class _Enduring:
    """Ignores a stream's write errors (full disk, closed pipe): they cannot be reported, and work must go on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logging(log_format: str, log_level: str, secrets: list[str], worker: int | None = None) -> None:
    """Writes one line per event to standard error, as JSON or for people; `secrets` are masked.

    With several workers, each line names its `worker`. Events contain no secrets; the masking is for libraries whose
    messages might quote one.
    """

    # As JSON and as people's lines write it. The longest first: one may be part of another.
    forms = {form for secret in secrets for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1])}
    hidden = sorted(forms, key=len, reverse=True)

    def mask(_logger: Any, _method: str, line: Any) -> str:
        for form in hidden:
            line = line.replace(form, "***")
        return str(line)

    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )

    def escape(_logger: Any, _method: str, event: Any) -> Any:
        # A path, a name or a server's message could colour the terminal, or make lines of its own.
        return {
            key: printable(value, keep="\n" if key == "exception" else "") if isinstance(value, str) else value
            for key, value in event.items()
        }

    def name_worker(_logger: Any, _method: str, event: Any) -> Any:
        return event | {"worker": worker}

    # JSON escapes them itself.
    escaped: list[Any] = [] if log_format == "json" else [escape]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if worker is None else [name_worker]),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, *escaped, renderer, mask],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(log_level.upper())),
        # One write for a line and its end: with PYTHONUNBUFFERED, another worker's line would come between two.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Enduring(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *escaped,
                renderer,
                mask,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # It warns at every attempt; DatabaseDown and DatabaseUp report the same once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
