"""How a notice is delivered: once, to an address that is allowed, again after a failure, and until it is given up."""

import asyncio

import pytest

from service.notices import posting, sending
from service.telemetry.events import NoticeFailed, NoticeSent
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source
from tests.fixtures.notices import fates, telling, to
from tests.fixtures.receiver import receiving
from tests.fixtures.runtime import Start, until

pytestmark = pytest.mark.operations


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_LOOK_AGAIN_S", 0.05)


async def test_notice_is_sent_again_until_it_is_accepted(start: Start, config: Sql, rosetta: Command) -> None:
    """With the same id, later and later; the reason is shown, bounded, without the URL."""
    long = b"HTTP/1.1 500 Broken\r\nConnection: close\r\n\r\n" + b"Cannot POST /s3cret-path" * 100_000
    async with receiving(long, b"nonsense\r\n\r\n") as ops:
        service = await telling(start, to(ops, kinds=["source"]))
        add_source(config)
        await ops.got(1)
        failed = await service.events.until(NoticeFailed)
        # Many an answer repeats the path.
        assert failed.reason == "127.0.0.1 answered 500"
        assert "failing" in rosetta("notices").stdout
        pause = "SELECT extract(epoch FROM due_at - now()) AS s FROM source_details_notices"
        first = config.execute(pause).fetchall()[0]["s"]
        config.execute("UPDATE source_details_notices SET due_at = now()")
        await until(lambda: len(service.events.of(NoticeFailed)) == 2)
        assert "s3cret-path" not in service.events.of(NoticeFailed)[1].reason
        second = config.execute(pause).fetchall()[0]["s"]
        assert 0 < first < 11 < second < 21
        config.execute("UPDATE source_details_notices SET due_at = now()")
        posts = await ops.got(3)
        await until(lambda: fates(config) == ["sent"])
    assert len({post.headers["webhook-id"] for post in posts}) == 1


async def test_notice_is_given_up_after_a_day(start: Start, config: Sql) -> None:
    """And shown as such."""
    async with receiving(b"HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\n") as ops:
        service = await telling(start, to(ops, kinds=["source"]))
        config.execute(
            "INSERT INTO source_details_notices "
            "(webhook, source_id, kind, entries, made_at, due_at, attempts, tried_at) "
            "VALUES ('ops', 1, 'source', '{}', now() - interval '2 days', now(), 30, now() - interval '25 hours')"
        )
        await service.events.until(NoticeFailed)
        assert fates(config) == ["given up"]
    (shown,) = (await service.client.get("/api/v1/notices")).json()
    assert (shown["fate"], shown["due_at"], shown["last_error"]) == ("given up", None, "127.0.0.1 answered 410")


async def test_notice_of_a_process_that_died_is_sent_by_another(start: Start, config: Sql) -> None:
    """When its claim is over, and not before."""
    async with receiving() as ops:
        await telling(start, to(ops))
        config.execute(
            "INSERT INTO source_details_notices (webhook, source_id, kind, entries, due_at, attempts) "
            "VALUES ('ops', 1, 'source', '{}', now() - interval '1 s', 1), ('ops', 1, 'tables', '{}', now() + interval '50 s', 1)"  # noqa: E501
        )
        (post,) = await ops.got(1)
        await until(lambda: fates(config) == ["sent", "waiting"])
        assert post.said["kind"] == "source"


async def test_two_processes_send_each_notice_once(start: Start, config: Sql) -> None:
    """Every entry is in one notice, and every notice is posted by one of them."""
    async with receiving() as ops:
        webhook = to(ops, kinds=["pipeline"])
        services = [await telling(start, webhook), await telling(start, webhook)]
        sources = [add_source(config) for _ in range(10)]
        for source in sources:
            add_pipeline(config, source)
        for status in ("START", "PAUSE"):
            for source in sources:
                config.execute("UPDATE pipelines SET status = %s WHERE source_id = %s", (status, source))
            await asyncio.sleep(0)
        told: list[int] = []
        async with asyncio.timeout(30):
            while len(told) < 30:
                posts = await ops.got(len(ops.posted))
                told = [entry["id"] for post in posts for entry in post.said["entries"]]
                await asyncio.sleep(0)
        await until(lambda: set(fates(config)) == {"sent"})
        await until(lambda: sum(len(service.events.of(NoticeSent)) for service in services) >= len(ops.posted))
        assert len(told) == len(set(told)) == 30
        ids = [post.headers["webhook-id"] for post in ops.posted]
        assert len(ids) == len(set(ids))
        assert sum(len(service.events.of(NoticeSent)) for service in services) == len(ids)


async def test_redirect_is_not_followed(start: Start, config: Sql) -> None:
    """An answer must not make the service call another address."""
    async with receiving() as elsewhere:
        away = f"HTTP/1.1 307 Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        async with receiving(away.encode()) as ops:
            service = await telling(start, to(ops, kinds=["source"]))
            add_source(config)
            failed = await service.events.until(NoticeFailed)
    assert failed.reason == "127.0.0.1 answered 307"
    assert not elsewhere.posted


async def test_name_with_an_address_that_is_not_allowed_is_not_called(start: Start, config: Sql) -> None:
    """Only the look-up tells."""
    async with receiving() as ops:
        url = ops.url.replace("127.0.0.1", "localhost")
        service = await telling(start, to(ops, kinds=["source"], url=url), hosts="10.0.0.0/8")
        add_source(config)
        failed = await service.events.until(NoticeFailed)
        assert failed.reason.startswith("ROSETTA_WEBHOOK_HOSTS does not allow localhost (")
        assert not ops.posted


async def test_address_that_is_allowed_is_called_under_the_name(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by way of a proxy of the environment, which would get the URL."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with receiving() as ops:
        url = ops.url.replace("127.0.0.1", "localhost")
        await telling(start, to(ops, kinds=["source"], url=url), hosts="127.0.0.0/8")
        add_source(config)
        (post,) = await ops.got(1)
        assert post.headers["host"] == f"localhost:{ops.port}"


async def test_slow_webhook_holds_up_no_other(start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up on after a while, whether it says nothing or drips."""
    monkeypatch.setattr(posting, "_BUDGET_S", 1.0)
    silent = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        while not silent.is_set():
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def stay(_: asyncio.StreamWriter) -> None:
        await silent.wait()

    async with receiving(drip, stay, drip, stay) as slow, receiving() as quick:
        service = await telling(start, to(slow, "slow", kinds=["source"]), to(quick, "quick", kinds=["source"]))
        for _ in range(4):
            add_source(config)
        await quick.got(4)
        assert not service.events.of(NoticeFailed)
        await until(lambda: len(service.events.of(NoticeFailed)) == 4)
        assert {failed.reason for failed in service.events.of(NoticeFailed)} == {"no answer within 1 s"}
        silent.set()


async def test_refused_connection_is_told(start: Start, config: Sql) -> None:
    """In the words of the system."""
    service = await telling(start, {"name": "ops", "url": "http://127.0.0.1:1/s3cret-path", "kinds": ["source"]})
    add_source(config)
    failed = await service.events.until(NoticeFailed)
    assert failed.reason.startswith("127.0.0.1: ConnectError: ")
    assert "s3cret-path" not in failed.reason


async def test_first_failure_after_a_long_rest_is_not_the_last(start: Start, config: Sql) -> None:
    """The day of its attempts begins with the first one, not when it was made."""
    async with receiving(b"HTTP/1.1 503 No\r\nConnection: close\r\n\r\n") as ops:
        service = await telling(start, to(ops, kinds=["source"]))
        config.execute(
            "INSERT INTO source_details_notices (webhook, source_id, kind, entries, made_at, due_at) "
            "VALUES ('ops', 1, 'source', '{}', now() - interval '25 hours', now())"
        )
        await service.events.until(NoticeFailed)
        assert fates(config) == ["failing"]


@pytest.mark.parametrize(
    ("kind", "facts", "reason"),
    [
        ("state", "{}", "KeyError"),
        (
            "schema",
            '{"what": "changed", "count": 1, "items": [{"id": 1, "table": "t", "version": 2}]}',
            "it lacks the service's objects",
        ),
    ],
    ids=["nothing in it", "a statement fails"],
)
async def test_entry_that_cannot_be_told_holds_up_no_other(
    start: Start, config: Sql, kind: str, facts: str, reason: str
) -> None:
    """It is tried again like any other, and its fate is shown: also if a statement fails, and the database is there."""
    async with receiving() as ops:
        service = await telling(start, to(ops))
        source = add_source(config)
        await ops.got(1)
        config.execute("ALTER TABLE source_details_versions RENAME TO elsewhere")
        config.execute(
            "INSERT INTO source_details_timeline (source_id, kind, facts) VALUES (%(s)s, %(kind)s, %(facts)s), "
            '(%(s)s, \'pipeline\', \'{"what": "added", "count": 1, "items": [{"name": "p"}]}\')',
            {"s": source, "kind": kind, "facts": facts},
        )
        failed = await service.events.until(NoticeFailed)
        assert reason in failed.reason
        await until(lambda: sorted(fates(config)) == ["failing", "sent", "sent"])
