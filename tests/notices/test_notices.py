"""Notices: each fact that a webhook wants arrives there, with its verdict and a signature; faults only delay it."""

import asyncio
import base64
import hmac
import html
import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from service.config.webhooks import Webhook, parse
from service.notices import posting, sending
from service.notices.messages import headers
from service.telemetry.events import NoticeFailed, NoticeSent
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.receiver import Receiver, receiving
from tests.fixtures.runtime import Service, Start, settings, until

pytestmark = pytest.mark.operations

KEY = b"0123456789abcdef01234567"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_LOOK_AGAIN_S", 0.05)


def to(receiver: Receiver, name: str = "ops", **more: Any) -> dict[str, Any]:
    """A webhook to the receiver."""
    return {"name": name, "url": receiver.url, "cooldown_s": 0} | more


async def telling(start: Start, *webhooks: dict[str, Any], hosts: str = "127.0.0.1") -> Service:
    """A service that tells these webhooks."""
    service: Service = await start(webhooks=SecretStr(json.dumps(webhooks)), webhook_hosts=hosts)
    return service


def fates(config: Sql) -> list[str]:
    """What became of each notice."""
    rows = config.execute(
        "SELECT CASE WHEN sent_at IS NOT NULL THEN 'sent' WHEN gave_up_at IS NOT NULL THEN 'given up' "
        "WHEN last_error IS NOT NULL THEN 'failing' ELSE 'waiting' END AS fate FROM source_details_notices ORDER BY id"
    )
    return [row["fate"] for row in rows]


async def test_breaking_change_is_told_with_its_verdict_and_signed(
    start: Start, config: Sql, published: Sql, shop_dsn: str, rosetta: Command
) -> None:
    """In both forms. The page, the API and the command show it, and not where it went."""
    async with receiving() as ops, receiving() as chat:
        service = await telling(
            start,
            to(ops, secret=SECRET, kinds=["schema"]),
            to(chat, "chat", form="slack", kinds=["schema"], sources=["sh*"]),
        )
        source = add_source(config, shop_dsn, name="shop <1>")
        await service.sync(source)
        published.execute("ALTER TABLE orders DROP COLUMN note")
        await service.sync(source)
        (post,) = await ops.got(1)
        (entry,) = post.said["entries"]
        assert (post.said["kind"], post.said["source"]) == ("schema", {"id": source, "name": "shop <1>"})
        assert entry["verdict"] == "breaking"
        assert entry["says"] == ["orders version 2: note is dropped (programs that read it)"]
        assert entry["program"] == "rosetta-source-details"
        assert post.path == "/s3cret-path"
        signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.content
        digest = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
        assert post.headers["webhook-signature"] == f"v1,{digest}"
        (post,) = await chat.got(1)
        assert post.said == {
            "text": "*shop &lt;1&gt;*: schema changed (breaking)\n"
            "• orders version 2: note is dropped (programs that read it)"
        }
        assert "webhook-signature" not in post.headers
        await until(lambda: len(service.events.of(NoticeSent)) == 2)
    shown = (await service.client.get("/api/v1/notices")).json()
    assert {(notice["webhook"], notice["fate"], notice["kind"], notice["attempts"]) for notice in shown} == {
        ("ops", "sent", "schema", 1), ("chat", "sent", "schema", 1),
    }  # fmt: skip
    page = (await service.client.get("/notices")).text
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))
    assert "shop <1> schema ops" in words
    command = rosetta("notices", "--json").stdout
    assert {notice["webhook"] for notice in json.loads(command)} == {"ops", "chat"}
    assert "sent" in rosetta("notices").stdout
    assert "s3cret-path" not in page + command + json.dumps(shown)


def test_signature_is_that_of_the_specification() -> None:
    """Its example: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    webhook = Webhook("ops", "http://127.0.0.1/", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    sent = headers(webhook, {"id": "msg_p5jXN8AQM9LWM0D4loKWxJek"}, b'{"test": 2432232314}', at)
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_happens_while_a_webhook_rests_comes_in_one_notice(start: Start, config: Sql) -> None:
    """The first is told at once; the others when the cooldown is over, together."""
    async with receiving() as ops:
        await telling(start, to(ops, cooldown_s=3600, kinds=["pipeline"]))
        source, other = add_source(config), add_source(config)
        add_pipeline(config, source)
        await ops.got(1)
        await until(lambda: fates(config) == ["sent"])
        for status in ("START", "PAUSE", "START"):
            config.execute("UPDATE pipelines SET status = %s", (status,))
        await until(
            lambda: config.execute("SELECT FROM source_details_timeline WHERE NOT is_noticed").fetchone() is None
        )
        assert fates(config) == ["sent", "waiting"]
        # Another source has a rest of its own.
        add_pipeline(config, other)
        await ops.got(2)
        config.execute("UPDATE source_details_notices SET due_at = now() WHERE attempts = 0")
        _, _, digest = await ops.got(3)
    assert [entry["says"] for entry in reversed(digest.said["entries"])] == [
        ["pipeline p0: status PAUSE is now START"],
        ["pipeline p0: status START is now PAUSE"],
        ["pipeline p0: status PAUSE is now START"],
    ]


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


async def test_entries_from_before_webhooks_are_not_told(start: Start, config: Sql) -> None:
    """Of more than a day ago: somebody who sets a webhook wants no history."""
    source = add_source(config)
    add_pipeline(config, source)
    config.execute("UPDATE source_details_timeline SET happened_at = now() - interval '25 hours' WHERE kind = 'source'")
    async with receiving() as ops:
        await telling(start, to(ops))
        (post,) = await ops.got(1)
        assert post.said["kind"] == "pipeline"
        assert fates(config) == ["waiting"] or fates(config) == ["sent"]


SLACK = "https://hooks.example.com/services/T0/B0/s3cret"


@pytest.mark.parametrize(
    ("text", "hosts", "why"),
    [
        ("{}", "*", "is no list of webhooks (Expected `array`, got `object`); see docs/timeline.md"),
        ('[{"name": "ops"}]', "*", "is no list of webhooks (Object missing required field `url` - at `$[0]`)"),
        (f'[{{"name": "ops", "url": "{SLACK}", "kind": "x"}}]', "*", "contains unknown field `kind`"),
        (f'[{{"name": "ops", "url": "{SLACK}", "kinds": ["weather"]}}]', "*", "Invalid enum value 'weather'"),
        (f'[{{"name": "a b", "url": "{SLACK}"}}]', "*", "$[0].name"),
        (f'[{{"name": "ops", "url": "{SLACK}"}}]', "", "'ops': ROSETTA_WEBHOOK_HOSTS must allow hooks.example.com"),
        ('[{"name": "ops", "url": "ftp://x/"}]', "*", "webhook 'ops': its url is none"),
        ('[{"name": "ops", "url": "https://user:pw@x/"}]', "*", "webhook 'ops': its url is none"),
        ('[{"name": "ops", "url": "https://x:99999/"}]', "*", "webhook 'ops': its url has no such port"),
        ('[{"name": "ops", "url": "http://169.254.169.254/"}]', "10.0.0.0/8", "does not allow 169.254.169.254"),
        (f'[{{"name": "ops", "url": "{SLACK}", "secret": "s3cret"}}]', "*", "'ops': its secret is not whsec_"),
        (f'[{{"name": "ops", "url": "{SLACK}"}}, {{"name": "ops", "url": "{SLACK}"}}]', "*", "of the same name"),
    ],
)
def test_wrong_setting_stops_the_start(text: str, hosts: str, why: str) -> None:
    """With a line that names the webhook, and quotes no secret."""
    with pytest.raises(ValueError, match=re.escape(why)) as error:
        parse(text, hosts)
    assert "s3cret" not in str(error.value)
    with pytest.raises(ValidationError):
        settings(config_dsn="host=x", webhooks=SecretStr(text), webhook_hosts=hosts)


async def test_nothing_is_sent_without_webhooks(service: Service) -> None:
    """And the page says how to set one."""
    page = await service.client.get("/notices")
    assert "ROSETTA_WEBHOOKS" in page.text
    assert httpx.codes.is_success(page.status_code)


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


async def test_of_too_many_entries_the_latest_are_told(start: Start, config: Sql) -> None:
    """And how many earlier ones there were."""
    async with receiving() as ops:
        await telling(start, to(ops, cooldown_s=3600, kinds=["tables"]))
        source = add_source(config)
        add_table(config, source, "first")
        await ops.got(1)
        await until(lambda: fates(config) == ["sent"])
        config.execute(
            "INSERT INTO source_details_timeline (source_id, kind, facts) SELECT %s, 'tables', jsonb_build_object("
            "'what', 'added', 'count', 1, 'items', jsonb_build_array(jsonb_build_object('table', 't' || n))) "
            "FROM generate_series(1, 1500) AS n",
            (source,),
        )
        await until(
            lambda: config.execute("SELECT FROM source_details_timeline WHERE NOT is_noticed").fetchone() is None
        )
        config.execute("UPDATE source_details_notices SET due_at = now() WHERE attempts = 0")
        _, post = await ops.got(2)
    assert (post.said["entries"][0]["says"], post.said["left_out"]) == (["t1500 is added"], 1450)


async def test_entry_that_cannot_be_told_holds_up_no_other(start: Start, config: Sql) -> None:
    """It is tried again like any other, and its fate is shown."""
    async with receiving() as ops:
        service = await telling(start, to(ops))
        source = add_source(config)
        await ops.got(1)
        config.execute(
            "INSERT INTO source_details_timeline (source_id, kind, facts) VALUES (%(s)s, 'state', '{}'), "
            '(%(s)s, \'pipeline\', \'{"what": "added", "count": 1, "items": [{"name": "p"}]}\')',
            {"s": source},
        )
        failed = await service.events.until(NoticeFailed)
        assert failed.reason == "it cannot be told: KeyError"
        await until(lambda: sorted(fates(config)) == ["failing", "sent", "sent"])


async def test_tables_of_a_source_that_goes_are_not_told(start: Start, config: Sql) -> None:
    """Only that it was removed."""
    async with receiving() as ops:
        await telling(start, to(ops, kinds=["source", "tables"]))
        source = add_source(config, name="shop")
        add_table(config, source)
        await ops.got(2)
        config.execute("DELETE FROM sources")
        posts = await ops.got(3)
        await until(
            lambda: config.execute("SELECT FROM source_details_timeline WHERE NOT is_noticed").fetchone() is None
        )
        await until(lambda: set(fates(config)) == {"sent"})
    assert [entry["says"] for entry in posts[-1].said["entries"]] == [["shop is removed"]]
    assert len(posts) == 3
