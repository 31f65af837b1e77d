"""Who may call: tokens and their scopes, binds to public addresses, and the rate limit of syncs."""

import base64
from typing import Any

import httpx
import pytest
import redis as sync_redis

from service.config import tokens
from service.config.settings import load
from service.errors import StartError
from service.telemetry.events import SyncFailed
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import KEY, add_source
from tests.fixtures.process import StartProcess
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.operations

READ, READ_ENTRY = tokens.new("grafana", "read")
OPERATE, OPERATE_ENTRY = tokens.new("ops", "operate")


@pytest.fixture
async def guarded(start: Start) -> Service:
    """A service with a token of each scope."""
    started: Service = await start(access_tokens=f"{READ_ENTRY}, {OPERATE_ENTRY}")
    return started


def bearer(token: str) -> dict[str, str]:
    """The header that a program sends."""
    return {"Authorization": f"Bearer {token}"}


def basic(token: str) -> dict[str, str]:
    """The header that a browser sends."""
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("rosetta_wrong"),
        bearer(""),
        bearer(READ_ENTRY.rpartition(":")[2]),
        {"Authorization": READ},
        {"Authorization": "Basic ====="},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Basic \u00e4"},
        {"Authorization": f"Bearer {READ}x"},
        {"Authorization": "Bearer \u00e4"},
    ],
)
async def test_nothing_is_told_without_a_token(guarded: Service, config: Sql, headers: dict[str, str]) -> None:
    """No page, in this process or not, and not whether a source exists; the hash is not a token."""
    source = add_source(config)
    await guarded.client.get(f"/api/v1/sources/{source}/details", headers=bearer(READ))
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    for path in (f"/api/v1/sources/{source}/details", "/api/v1/sources/999", "/", "/metrics", "/x"):
        response = await guarded.client.get(path, headers=sent)
        assert response.status_code == 401
        assert response.json()["error"] == "UnauthorizedError"
        assert response.headers.get_list("www-authenticate") == ["Bearer", 'Basic realm="rosetta"']


async def test_person_without_the_right_token_is_told_in_a_page(guarded: Service, config: Sql) -> None:
    """The API answers JSON whatever the client accepts."""
    source = add_source(config)
    accepts = {"Accept": "text/html,*/*;q=0.8"}
    refused = await guarded.client.get("/", headers=accepts)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "text/html; charset=utf-8"
    assert refused.headers["content-security-policy"].startswith("default-src 'none'")
    assert "A token is needed" in refused.text
    late = await guarded.client.post(f"/sources/{source}/refresh", headers=accepts | basic(READ))
    assert (late.status_code, "scope operate." in late.text) == (403, True)
    api = await guarded.client.get("/api/v1/sources", headers=accepts)
    assert api.json()["error"] == "UnauthorizedError"
    assert api.headers["x-content-type-options"] == "nosniff"
    assert api.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("say", [bearer, basic])
async def test_scopes(guarded: Service, config: Sql, say: Any) -> None:
    """A token of scope read cannot sync in any way; one of scope operate can do both."""
    source = add_source(config)
    page = f"/api/v1/sources/{source}/details"
    costly = [
        ("POST", f"/api/v1/sources/{source}/refresh"),
        ("POST", f"/sources/{source}/refresh"),
        ("GET", f"{page}?force_refresh=true"),
        ("GET", f"{page}?force_refresh=YES&x=1"),
        ("GET", f"{page}?x&force%5Frefresh=1"),
        ("GET", f"/api/v1/sources/{source}/available_tables?refresh=t"),
    ]
    for method, path in costly:
        refused = await guarded.client.request(method, path, headers=say(READ))
        assert refused.status_code == 403, path
        allowed = await guarded.client.request(method, path, headers=say(OPERATE))
        assert allowed.status_code in (200, 502), path
    assert 'rosetta_responses_total{status="403"} 6.0' in (await guarded.client.get("/metrics", headers=say(READ))).text
    for path in (page, f"{page}?force_refresh=false", f"/sources/{source}/details", "/", "/metrics"):
        for token in (READ, OPERATE):
            assert (await guarded.client.get(path, headers=say(token))).status_code == 200


async def test_what_must_be_open_is(guarded: Service) -> None:
    """Health checks, without the reasons; a page's script; a preflight."""
    assert (await guarded.client.get("/health/live")).status_code == 200
    ready = await guarded.client.get("/health/ready")
    assert (ready.status_code, set(ready.json())) == (200, {"status"})
    assert "redis" in (await guarded.client.get("/health/ready", headers=bearer(READ))).json()
    assert (await guarded.client.get("/assets/0/page.js")).status_code == 404
    assert (await guarded.client.options("/api/v1/sources")).status_code != 401


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ops:operate:xyz", "entry 1"),
        # Workers must agree on its name.
        pytest.param(f"{READ_ENTRY},nonsense", "entry 2", id="second"),
        (f"ops:write:{'0' * 64}", "entry 1"),
        (",", "has no entry"),
        (" ", "has no entry"),
        (" , ,", "has no entry"),
    ],
)
def test_wrong_token_settings_stop_the_start(monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    """The message is one line that names the variable and contains no hash."""
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", "postgresql://x")
    monkeypatch.setenv("CREDENTIAL_ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("ROSETTA_ACCESS_TOKENS", text)
    with pytest.raises(StartError) as error:
        load()
    assert str(error.value).startswith(f"ROSETTA_ACCESS_TOKENS: {says}")
    assert READ_ENTRY not in str(error.value)


@pytest.mark.parametrize(
    ("host", "more", "starts"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("localhost", {}, True),
        ("0.0.0.0", {}, False),  # noqa: S104  # the test is that this is refused
        ("::", {}, False),
        ("10.0.0.7", {}, False),
        ("0.0.0.0", {"ROSETTA_OPEN_ACCESS": "true"}, True),  # noqa: S104
        ("0.0.0.0", {"ROSETTA_ACCESS_TOKENS": READ_ENTRY}, True),  # noqa: S104
    ],
)
def test_others_are_let_in_only_by_tokens_or_on_purpose(
    monkeypatch: pytest.MonkeyPatch, host: str, more: dict[str, str], starts: bool
) -> None:
    """The service refuses to bind a public address without access control, and says what to set."""
    values = {"ROSETTA_CONFIG_DSN": "postgresql://x", "CREDENTIAL_ENCRYPTION_KEY": KEY, "ROSETTA_HOST": host} | more
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    if starts:
        load()
        return
    with pytest.raises(StartError, match=r"ROSETTA_HOST: .*ROSETTA_ACCESS_TOKENS.*ROSETTA_OPEN_ACCESS"):
        load()


async def sync(service: Service, source: int, token: str) -> httpx.Response:
    """Requests a sync."""
    return await service.client.post(f"/api/v1/sources/{source}/refresh", headers=bearer(token))


@pytest.mark.usefixtures("published")
async def test_syncs_are_limited_per_caller_over_all_processes(
    start: Start, config: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit: 429 with Retry-After. Other callers are not affected, and the next minute is free again."""
    other, other_entry = tokens.new("other", "operate")
    services = [await start(access_tokens=f"{OPERATE_ENTRY},{other_entry}", syncs_per_minute=3) for _ in range(2)]
    source = add_source(config, shop_dsn)
    now = 1_000_000 * 60.0
    monkeypatch.setattr("service.cache.rate_limit.time", lambda: now + 20)
    # What names no source costs no sync.
    bad = await services[0].client.post("/api/v1/sources/none/refresh", headers=bearer(OPERATE))
    assert bad.status_code == 422
    statuses = [(await sync(services[number % 2], source, OPERATE)).status_code for number in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = await services[0].client.get(
        f"/api/v1/sources/{source}/details?force_refresh=true", headers=bearer(OPERATE)
    )
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert refused.json()["error"] == "TooManyRequestsError"
    assert (await sync(services[1], source, other)).status_code == 200
    page = await services[0].client.get(f"/api/v1/sources/{source}/details", headers=bearer(OPERATE))
    assert page.status_code == 200
    monkeypatch.setattr("service.cache.rate_limit.time", lambda: now + 60)
    assert (await sync(services[0], source, OPERATE)).status_code == 200


def test_callers_address_is_believed_only_from_a_trusted_proxy(serve: StartProcess, config: Sql) -> None:
    """Or a caller would have a limit of its own for each address that it names."""
    source = add_source(config)
    for number, proxies in enumerate(("", "127.0.0.0/8")):
        process = serve(ROSETTA_SYNCS_PER_MINUTE="1", ROSETTA_TRUSTED_PROXIES=proxies)
        process.until_ready()
        url = f"http://{process.host}:{process.port}/api/v1/sources/{source}/refresh"
        # Three, since a clock minute may end after the first.
        callers = [{"X-Forwarded-For": f"10.{number}.0.{caller}"} for caller in range(3)]
        is_limited = 429 in [httpx.post(url, headers=headers).status_code for headers in callers]
        assert is_limited == (not proxies)


async def test_counter_that_is_no_number_counts_again(start: Start, redis: sync_redis.Redis) -> None:
    """Anyone can write to Redis: the limit must not end silently."""
    service: Service = await start()
    cache = service.runtime.cache
    await until(lambda: cache.is_trusted)
    for strange in ("set", "lpush"):
        getattr(redis, strange)(cache.keys.counter("caller"), "no number")
        assert [await cache.count("caller", 60_000) for _ in range(2)] == [1, 2]
        assert redis.pttl(cache.keys.counter("caller")) > 0
        redis.delete(cache.keys.counter("caller"))
    redis.set(cache.keys.counter("caller"), 5)
    assert await cache.count("caller", 60_000) == 6
    assert redis.pttl(cache.keys.counter("caller")) > 0


async def test_without_redis_nothing_is_counted(start: Start, config: Sql, shop_dsn: str) -> None:
    """Without Redis syncs are not limited: a sync matters more than its count."""
    # Nothing listens on that port: a Redis that is only lost would be found again during this test.
    service: Service = await start(syncs_per_minute=1, redis_url="redis://127.0.0.1:1/0")
    source = add_source(config, shop_dsn)
    for _ in range(3):
        assert (await service.client.post(f"/api/v1/sources/{source}/refresh")).status_code == 200


async def test_another_sites_page_cannot_make_us_call_a_source(start: Start, config: Sql) -> None:
    """A browser would send its stored password, even for an image. Programs and allowed origins may sync."""
    source = add_source(config)
    service: Service = await start(cors_origins="https://platform.example.com")
    page = f"/api/v1/sources/{source}/details"
    asked = [
        ("POST", f"/api/v1/sources/{source}/refresh"),
        ("GET", f"{page}?force_refresh=true"),
        ("GET", f"/api/v1/sources/{source}/available_tables?refresh=true"),
    ]
    for method, path in asked:
        for origin in ({}, {"Origin": "https://evil.example.com"}):
            headers = {"Sec-Fetch-Site": "cross-site"} | origin
            refused = await service.client.request(method, path, headers=headers)
            assert (refused.status_code, refused.json()["error"]) == (403, "CrossSiteError"), path
    assert service.events.of(SyncFailed) == []
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://platform.example.com"},
        {"Sec-Fetch-Site": "same-origin"},
        {},
    ):
        for method, path in asked:
            assert (await service.client.request(method, path, headers=headers)).status_code in (200, 502), path
    assert (await service.client.get(page, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_every_answer_is_what_it_says_it_is(service: Service, config: Sql) -> None:
    """No browser may guess a type: pages from any cache, errors, metrics."""
    source = add_source(config)
    page = f"/api/v1/sources/{source}/details"
    for path in (page, page, "/api/v1/sources", "/api/v1/sources/999", "/health/ready", "/metrics", "/"):
        response = await service.client.get(path)
        assert response.headers["x-content-type-options"] == "nosniff", path
