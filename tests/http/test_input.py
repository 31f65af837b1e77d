"""The values that a caller may put into a URL; anything else gets JSON, never a traceback."""

from typing import Any

import pytest

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service

UNKNOWN = ["0", "-1", "-0", "000", "2147483647", "2147483648", str(2**63), str(10**30), "9" * 5000]
NO_INTEGERS = [
    "abc", "1.5", "%00", "1%00", "1e3", "+1", "0x1", "%20", "1 ", "\u0661", "NaN", "null", "a" * 5000, "%F0%9F%92%A9",
]  # fmt: skip


@pytest.mark.parametrize("rest", ["", "/details"])
@pytest.mark.parametrize("source_id", UNKNOWN, ids=lambda text: text[:12])
async def test_id_that_no_source_has_is_a_404(service: Service, source_id: str, rest: str) -> None:
    """Unknown, zero, negative, beyond int4 and beyond any integer."""
    response = await service.client.get(f"/api/v1/sources/{source_id}{rest}")
    assert response.status_code == 404
    body = response.json()
    assert body["error"] == "EntityNotFoundError"
    assert body["details"]["entity_type"] == "Source"
    assert len(response.content) < 300


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("source_id", NO_INTEGERS, ids=lambda text: text[:12])
async def test_id_that_is_no_integer_is_a_422(service: Service, source_id: str, method: str) -> None:
    """The message quotes it, shortened."""
    path = "details" if method == "GET" else "refresh"
    response = await service.client.request(method, f"/api/v1/sources/{source_id}/{path}")
    assert response.status_code == 422
    assert response.json()["error"] == "ValidationError"
    assert response.json()["details"]["parameter"] == "source_id"
    assert len(response.content) < 500


@pytest.mark.parametrize("flag", ["true", "1", "on", "yes", "y", "t", "TRUE", "Yes", "oN"])
async def test_words_for_true(service: Service, config: Sql, flag: str) -> None:
    """Each of them syncs."""
    source = add_source(config)
    page = await service.details(source, params={"force_refresh": flag})
    assert "sync" in page.json()["meta"]


@pytest.mark.parametrize("flag", ["false", "0", "off", "no", "n", "f", "FALSE", "No", "oFF"])
async def test_words_for_false(service: Service, config: Sql, flag: str) -> None:
    """Each of them reads."""
    source = add_source(config)
    page = await service.details(source, params={"force_refresh": flag})
    assert "sync" not in page.json()["meta"]


@pytest.mark.parametrize("flag", ["", " ", "2", "tru", "true,false", "null", "\x00", "ja", "x" * 3000])
async def test_other_words_are_a_422(service: Service, config: Sql, flag: str) -> None:
    """They are neither true nor false."""
    source = add_source(config)
    response = await service.client.get(f"/api/v1/sources/{source}/details", params={"force_refresh": flag})
    assert response.status_code == 422
    assert response.json()["details"]["parameter"] == "force_refresh"


@pytest.mark.parametrize(
    "query", [{"limit": "1001"}, {"limit": "-1"}, {"limit": "x"}, {"skip": "-1"}, {"skip": "1.0"}, {"skip": str(2**40)}]
)
async def test_pages_of_the_list_have_bounds(service: Service, query: dict[str, str]) -> None:
    """At most 1000 sources at a time."""
    response = await service.client.get("/api/v1/sources", params=query)
    assert response.status_code == 422
    assert response.json()["details"]["parameter"] in query


async def test_search_for_a_zero_byte_is_a_422(service: Service) -> None:
    """PostgreSQL has no text with one."""
    response = await service.client.get("/", params={"search": "\0"}, headers={"Accept": "application/json"})
    assert response.status_code == 422
    assert response.json()["details"] == {"parameter": "search"}


async def test_list_is_an_array_in_pages(service: Service, config: Sql) -> None:
    """By name, then id; each source as on its page; no passwords."""
    assert (await service.client.get("/api/v1/sources")).json() == []
    ids = [add_source(config, name=name, pg_password="c2VjcmV0") for name in ("a", "b", "c", "d", "e")]
    config.execute("UPDATE sources SET id = id + 100 WHERE name = 'b'")
    ids[1] += 100
    listed = (await service.client.get("/api/v1/sources", params={"skip": "1", "limit": "3"})).json()
    assert [source["id"] for source in listed] == ids[1:4]
    assert (await service.client.get("/api/v1/sources", params={"limit": "0"})).json() == []
    one = (await service.client.get(f"/api/v1/sources/{ids[1]}")).json()
    assert one == listed[0]
    assert one == (await service.details(ids[1])).json()["source"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/sources/1/2/3", 404),
        ("GET", "/api/v2/anything", 404),
        ("GET", "/api/v1/sources/%2Fetc%2Fpasswd/details", 404),
        ("GET", "/" + "a" * 10_000, 404),
        ("GET", "/api/v1/sources/" + "1" * 10_000 + "/details", 404),
        ("POST", "/api/v1/sources/1/details", 404),
        ("DELETE", "/api/v1/sources/1", 404),
        ("GET", "/api/v1/sources/1/refresh", 404),
    ],
)
async def test_what_is_not_there_is_json(service: Service, method: str, path: str, status: int) -> None:
    """Short, and without details of the implementation."""
    response = await service.client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/json")
    body: dict[str, Any] = response.json()
    assert set(body) <= {"error", "message", "details"}
    assert len(response.content) < 400


async def test_failure_that_nobody_foresaw_is_json_without_a_traceback(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500, and the reason is only in the log."""

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("an inner word")

    monkeypatch.setattr(service.runtime.database, "fetch_one", fail)
    response = await service.client.get("/api/v1/sources")
    assert response.status_code == 500
    assert response.json()["error"] == "InternalError"
    assert "inner word" not in response.text


async def test_strange_names_come_back_as_they_are(service: Service, config: Sql) -> None:
    """Quotes, markup, control characters, other scripts: JSON preserves them all."""
    name = 'a"b\\c</script>\n\t\x01 ü ☃ \U0001f4a9 %s {}'
    source = add_source(config, name=name)
    add_table(config, source, name)
    page = (await service.details(source)).json()
    assert page["source"]["name"] == name
    assert page["tables"][0]["table_name"] == name
