"""Notices: each fact that a webhook wants arrives there, with its verdict and a signature."""

import base64
import hmac
import html
import json
import re
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from service.config.webhooks import Webhook, parse
from service.notices import sending
from service.notices.messages import headers
from service.telemetry.events import NoticeSent
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.notices import fates, telling, to
from tests.fixtures.receiver import receiving
from tests.fixtures.runtime import Service, Start, settings, until

pytestmark = pytest.mark.operations

KEY = b"0123456789abcdef01234567"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_LOOK_AGAIN_S", 0.05)


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
