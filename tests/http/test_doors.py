"""Who reaches the service by way of a person's browser, under another name, or through a proxy."""

import httpx
import pytest
import structlog

from service.config import tokens
from service.telemetry import rare_lines
from service.telemetry.events import SyncFailed
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start
from tests.fixtures.web import Open

pytestmark = pytest.mark.operations

READ, READ_ENTRY = tokens.new("grafana", "read")
OPERATE, OPERATE_ENTRY = tokens.new("ops", "operate")
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Host": "details.example.com:8000"}
ORIGIN = "http://details.example.com:8000"


@pytest.mark.parametrize(
    ("sent", "may"),
    [
        # Over plain HTTP a browser sends no Sec-Fetch-Site.
        (BROWSER | {"Origin": ORIGIN}, True),
        (BROWSER | {"Referer": f"{ORIGIN}/sources/1/details"}, True),
        (BROWSER | {"Origin": "http://evil.example.com"}, False),
        (BROWSER | {"Referer": "http://evil.example.com/a"}, False),
        (BROWSER | {"Origin": "null"}, False),
        (BROWSER | {"Origin": "http://details.example.com:9000"}, False),
        (BROWSER | {"Origin": "http://details.example.com.evil.example.com:8000"}, False),
        (BROWSER | {"Origin": f"{ORIGIN}@evil.example.com"}, False),
        # A page can keep its address from us, but only a script of ours can add a header.
        (BROWSER, False),
        (BROWSER | {"X-Requested-With": "fetch"}, True),
        (BROWSER | {"Authorization": f"Bearer {OPERATE}"}, True),
        (BROWSER | {"Sec-Fetch-Site": "none"}, True),
        (BROWSER | {"Sec-Fetch-Site": "same-origin"}, True),
        (BROWSER | {"Sec-Fetch-Site": "same-site", "Origin": "http://details.example.com:9000"}, False),
        (BROWSER | {"Sec-Fetch-Site": "cross-site"}, False),
        (BROWSER | {"Sec-Fetch-Site": "cross-site", "Origin": "https://platform.example.com"}, True),
        (BROWSER | {"Origin": "https://platform.example.com"}, True),
        # Programs.
        ({"User-Agent": "curl/8.5.0", "Host": "details.example.com"}, True),
        ({"User-Agent": "curl/8.5.0", "Host": "details.example.com", "Origin": "http://evil.example.com"}, False),
    ],
)
async def test_only_our_own_pages_and_programs_sync(
    start: Start, config: Sql, sent: dict[str, str], *, may: bool
) -> None:
    """A browser sends its stored password with whatever any page asks for: for an image as well."""
    service: Service = await start(
        host_names="details.example.com", cors_origins="https://platform.example.com", syncs_per_minute=0
    )
    source = add_source(config)
    for method, path in [
        ("POST", f"/api/v1/sources/{source}/refresh"),
        ("GET", f"/api/v1/sources/{source}/details?force_refresh=true"),
        ("GET", f"/api/v1/sources/{source}/available_tables?refresh=true"),
    ]:
        answer = await service.client.request(method, path, headers=sent)
        assert answer.status_code in ((200, 502) if may else (403,)), path
        assert may or answer.json()["error"] == "CrossSiteError"
    assert bool(service.events.of(SyncFailed)) is may
    text = (await service.client.get("/metrics")).text
    assert ('rosetta_refusals_total{why="site"} 3.0' in text) is not may


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9"}, 403),
        ({"Origin": "http://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://platform.example.com"}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"User-Agent": "Mozilla/5.0"}, 200),
        ({}, 200),
    ],
)
async def test_another_sites_page_holds_no_live_stream(
    start: Start, config: Sql, serve_site: Open, sent: dict[str, str], status: int
) -> None:
    """There are few, and a page can ask for many."""
    site = await serve_site(await start(cors_origins="https://platform.example.com"))
    path = f"{site.url}/api/v1/sources/{add_source(config)}/events"
    headers = {"Host": "localhost"} | sent
    async with httpx.AsyncClient() as client, client.stream("GET", path, headers=headers) as response:
        assert response.status_code == status


async def test_no_setting_lets_another_sites_form_sync_by_the_page(start: Start, config: Sql) -> None:
    """The page's form is the page's own."""
    service: Service = await start(cors_origins="https://platform.example.com")
    source = add_source(config)
    for origin in ("https://platform.example.com", "null"):
        answer = await service.client.post(f"/sources/{source}/refresh", headers={"Origin": origin})
        assert answer.status_code == 403
    answer = await service.client.post(f"/sources/{source}/refresh", headers={"Origin": "http://localhost"})
    assert answer.status_code == 502


@pytest.mark.parametrize(
    ("named", "host", "status"),
    [
        ("", "localhost:8000", 200),
        ("", "LOCALHOST", 200),
        ("", "demo.localhost:1", 200),
        ("", "127.0.0.1:8000", 200),
        ("", "[::1]:8000", 200),
        ("", "evil.example.com", 421),
        ("", "127.0.0.1.evil.example.com", 421),
        ("", "localhost.evil.example.com:8000", 421),
        ("", "", 421),
        ("details.example.com, b", "Details.Example.Com.:443", 200),
        ("details.example.com, b", "b", 200),
        ("details.example.com, b", "a.details.example.com", 421),
    ],
)
async def test_another_name_does_not_lead_here(start: Start, config: Sql, named: str, host: str, status: int) -> None:
    """DNS rebinding: a page of evil.example.com has that name lead to this machine, and reads what is answered."""
    service: Service = await start(host_names=named)
    source = add_source(config)
    for path in (f"/api/v1/sources/{source}/details", "/", "/metrics", "/health/ready"):
        for _ in range(2):
            answer = await service.client.get(path, headers={"Host": host})
            assert answer.status_code == status, path
    assert (await service.client.get("/health/live", headers={"Host": host})).status_code == 200


async def test_two_names_are_none(start: Start) -> None:
    """Whatever stands in front may have looked at the other one."""
    service: Service = await start()
    request = httpx.Request("GET", "http://localhost/", headers=[("Host", "localhost"), ("Host", "evil.example.com")])
    assert (await service.client.send(request)).status_code == 421


async def test_tokens_allow_any_name_unless_some_are_listed(start: Start) -> None:
    """A page of another site has no token to send."""
    anywhere = await start(access_tokens=READ_ENTRY)
    listed = await start(access_tokens=READ_ENTRY, host_names="details.example.com")
    sent = {"Authorization": f"Bearer {READ}", "Host": "elsewhere.example.com"}
    assert (await anywhere.client.get("/", headers=sent)).status_code == 200
    assert (await listed.client.get("/", headers=sent)).status_code == 421
    assert (await listed.client.get("/", headers=sent | {"Host": "details.example.com"})).status_code == 200


async def test_refusals_leave_a_limited_trace(start: Start) -> None:
    """One line for each, ten in a minute at most, and a metric that counts all."""
    service: Service = await start(access_tokens=READ_ENTRY)
    with structlog.testing.capture_logs() as lines:
        for _ in range(25):
            await service.client.get("/x" * 300, headers={"Authorization": "Bearer wrong"})
        await service.client.get("/nowhere", headers={"Authorization": f"Bearer {READ}"})
    refused = [line for line in lines if line["event"] == "refused"]
    assert len(refused) == 10
    assert dict(refused[0]) | {"path": ""} == {
        "event": "refused", "log_level": "warning", "why": "token", "method": "GET", "path": "", "client": "127.0.0.1",
        "left_out": 0,
    }  # fmt: skip
    assert len(refused[0]["path"]) == 200
    assert [line["status"] for line in lines if line.get("path") == "/nowhere"] == [404]
    text = (await service.client.get("/metrics", headers={"Authorization": f"Bearer {READ}"})).text
    assert 'rosetta_refusals_total{why="token"} 25.0' in text
    assert 'rosetta_responses_total{status="401"} 25.0' in text
    assert 'rosetta_responses_total{status="404"} 1.0' in text


def test_lines_that_were_left_out_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line says how many."""
    now = [1000.0]
    monkeypatch.setattr(rare_lines, "monotonic", lambda: now[0])
    lines = rare_lines.RareLines(most=2, per_s=60)
    assert [lines.next("a") for _ in range(5)] == [0, 0, None, None, None]
    assert lines.next("b") == 0
    now[0] += 60
    assert lines.next("a") == 3


async def test_a_page_that_may_read_answers_may_read_refusals(start: Start, config: Sql) -> None:
    """Otherwise the platform's application sees a network error, and cannot tell a person what is missing."""
    service: Service = await start(
        access_tokens=f"{READ_ENTRY},{OPERATE_ENTRY}", cors_origins="https://control.example.com"
    )
    source = add_source(config)
    mine = {"Origin": "https://control.example.com"}
    path = f"/api/v1/sources/{source}"
    for method, where, token, status in [
        ("GET", f"{path}/details", "", 401),
        ("POST", f"{path}/refresh", READ, 403),
        ("DELETE", path, OPERATE, 404),
        ("PUT", "/api/v1/pipelines/1", OPERATE, 404),
    ]:
        asked = {
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        preflight = await service.client.options(where, headers=mine | asked)
        assert preflight.status_code == 204
        assert method in preflight.headers["access-control-allow-methods"]
        answer = await service.client.request(method, where, headers=mine | {"Authorization": f"Bearer {token}"})
        assert answer.status_code == status
        assert set(answer.json()) >= {"error", "message"}
        assert answer.headers["access-control-allow-origin"] == "https://control.example.com"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        other = await service.client.request(method, where, headers={"Origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in other.headers


async def test_head_is_answered_wherever_get_is(service: Service, config: Sql) -> None:
    """With the headers, and nothing else."""
    source = add_source(config)
    style = (await service.client.get("/")).text.partition('stylesheet" href="./')[2].partition('"')[0]
    for path in (
        "/", f"/sources/{source}/details", f"/{style}", "/metrics", "/schema/openapi.json", "/health/live",
        "/api/v1/sources", f"/api/v1/sources/{source}", f"/api/v1/sources/{source}/details",
        f"/api/v1/sources/{source}/available_tables", f"/api/v1/sources/{source}/events",
    ):  # fmt: skip
        answer = await service.client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
    assert (await service.client.head("/api/v1/sources/999/events")).status_code == 404


async def test_whole_site_works_below_a_path(start: Start, config: Sql) -> None:
    """The proxy may pass the path on, or remove it; no link leads out of it."""
    service: Service = await start(root_path="/control/rosetta")
    source = add_source(config)
    base = "http://localhost/control/rosetta/"
    bare = await service.client.get(base[:-1])
    assert (bare.status_code, bare.headers["location"]) == (308, "/control/rosetta/")
    listed = await service.client.get(base, headers={"Accept": "text/html"})
    seen, waiting = {base}, [listed]
    while waiting:
        page = waiting.pop()
        for link in {text.partition('"')[0] for text in page.text.split('href="')[1:]}:
            url = str(page.url.join(link.replace("&amp;", "&"))).partition("#")[0]
            assert url.startswith(base), (str(page.url), link)
            if url not in seen:
                seen.add(url)
                waiting.append(await service.client.get(url, headers={"Accept": "text/html"}))
                assert waiting[-1].status_code == 200, url
    assert f"{base}sources/{source}/details" in seen
    missing = await service.client.get(f"{base}no/such/page", headers={"Accept": "text/html"})
    assert 'href="../../"' in missing.text
    assert (await service.client.get(f"/api/v1/sources/{source}")).status_code == 200
    described = (await service.client.get(f"{base}schema/openapi.json")).json()
    assert described["servers"] == [{"url": "/control/rosetta"}]
