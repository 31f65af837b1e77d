"""Walks every response, log line and Redis value of the run, and finds no password in any."""

import logging
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import pytest
import redis as sync_redis
import structlog

from service.demo.servers import PASSWORD
from tests.fix_metadata import ENCRYPTED_SECRET, KEY, SECRET

SECRETS = (SECRET, ENCRYPTED_SECRET, KEY, PASSWORD, "hidden-word", "plain-word")


class Walker:
    """What has been looked at, by kind, and where a secret was found."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.leaks: list[str] = []

    def look(self, kind: str, text: str) -> None:
        """Looks at one text."""
        self.seen[kind] += 1
        for secret in SECRETS:
            if secret in text:
                self.leaks.append(f"{kind}: {text[:500]}")

    async def look_at_response(self, response: httpx.Response) -> None:
        """As a hook of an HTTP client."""
        await response.aread()
        self.look("responses", f"{response.headers} {response.text}")

    def look_at_redis(self, redis: "sync_redis.Redis") -> None:
        """Every key with its value."""
        for key in redis.scan_iter("*", count=1000):
            value = redis.get(key)
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            self.look("Redis values", f"{key!r} {text}")


WALKER = Walker()


def _look_at_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    WALKER.look("log lines", repr(event))
    return event


class _Records(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        WALKER.look("log lines", self.format(record))


def pytest_configure() -> None:
    # Before anything masks a line, as the service's own logging would.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _look_at_event,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    )
    logging.getLogger().addHandler(_Records())


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[Walker]:
    """After every test: nothing that it made anybody see holds a secret."""
    yield WALKER
    leaks, WALKER.leaks = WALKER.leaks, []
    assert leaks == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(WALKER.seen.items()))
    terminalreporter.write_line(f"looked for passwords in: {counts or 'nothing'}")
