"""No secret leaks, whatever fails. fixtures/secrets.py watches the whole run; these tests provoke leaks."""

import io
import json
import logging
from contextlib import redirect_stderr
from pathlib import Path

import psycopg
import pytest
import redis as sync_redis
import structlog

from service.config.credentials import encrypt
from service.sources.address import SourceAddress
from service.telemetry.log_lines import configure_logging
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import ENCRYPTED_SECRET, KEY, SECRET, add_source
from tests.fixtures.runtime import Service
from tests.fixtures.secrets import SECRETS, Walker


def test_walker_finds_a_secret() -> None:
    """A walker that finds nothing would prove nothing."""
    for secret in SECRETS:
        walker = Walker()
        walker.look("responses", f"... {secret} ...")
        assert len(walker.leaks) == 1


async def test_wrong_passwords_and_broken_ones_are_told_without_them(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, redis: sync_redis.Redis, no_leaks: Walker
) -> None:
    """On the page, in the answer to a refresh, in the health report, in the log and in Redis."""
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    before = no_leaks.seen.copy()
    for password in (ENCRYPTED_SECRET, encrypt(KEY.encode(), f"' {SECRET} host=other"), f"not encrypted {SECRET}"):
        source = add_source(config, shop_dsn, pg_password=password)
        page = await service.sync(source)
        assert page["meta"]["sync"]["outcome"] == "failed"
        response = await service.client.post(f"/api/v1/sources/{source}/refresh")
        assert response.status_code == 502
        await service.details(source)
        await service.client.get(f"/api/v1/sources/{source}")
    await service.client.get("/api/v1/sources")
    await service.client.get("/health/ready")
    no_leaks.look_at_redis(redis)
    seen = no_leaks.seen - before
    assert seen["responses"] > 10
    assert seen["log lines"] > 10
    assert seen["Redis values"] >= 3


def test_source_does_not_show_its_password() -> None:
    """Neither in its repr, nor in the key of its remembered publication."""
    source = SourceAddress(1, "host", 5432, "db", "user", ENCRYPTED_SECRET, "publication", "slot")
    assert ENCRYPTED_SECRET not in repr(source) + source.publication_key


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("secret", ["pw-zebra", 'p"w\\ zebra \N{LATIN SMALL LETTER E WITH ACUTE}'])
def test_secrets_in_a_librarys_own_message_are_masked(log_format: str, secret: str) -> None:
    """The last line of defense: a library that quotes a DSN in its message or in an exception."""
    configured = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with redirect_stderr(io.StringIO()) as stderr:
            configure_logging(log_format, "info", [secret])
            structlog.get_logger().info("event", dsn=f"postgresql://u:{secret}@h/d")
            try:
                raise psycopg.OperationalError(f"failed: {secret}")
            except psycopg.OperationalError as error:
                structlog.get_logger().error("failed", exc_info=error)
                # What this one warns of is not logged.
                logging.getLogger("psycopg.pool").error("cannot use %s", secret, exc_info=True)
        lines = stderr.getvalue()
    finally:
        structlog.configure(**configured)
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "zebra" not in lines
    assert lines.count("***") >= 4
    assert "traceback object" not in lines
    if log_format == "json":
        assert all(json.loads(line) for line in lines.splitlines())


def test_full_disk_stops_nothing_that_logs() -> None:
    """The error cannot be reported anywhere; a request, or a failed task, goes on."""
    configured = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with Path("/dev/full").open("wb", buffering=0) as disk:
        full = io.TextIOWrapper(disk, write_through=True)
        try:
            with redirect_stderr(full):
                configure_logging("json", "info", [])
                structlog.get_logger().info("event")
        finally:
            structlog.configure(**configured)
            root.handlers[:] = handlers
            root.setLevel(level)
        with pytest.raises(OSError, match="No space left"):
            full.write("x")
        full.detach()
