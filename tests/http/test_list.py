"""The list of sources for programs: search, state, order, pages, and what it refuses."""

import httpx
import pytest

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service

_LIST = "/api/v1/sources"


def names(answer: httpx.Response) -> list[str]:
    """Of the sources, in order."""
    assert answer.status_code == 200, answer.text
    return [source["name"] for source in answer.json()]


async def test_list_is_an_array_with_its_count_and_links(service: Service, config: Sql) -> None:
    """Links are relative: they work behind a proxy, too."""
    for number in range(5):
        add_source(config, name=f"source {number}")
    whole = await service.client.get(_LIST)
    assert names(whole) == [f"source {number}" for number in range(5)]
    assert whole.headers["x-total-count"] == "5"
    assert "link" not in whole.headers
    page = await service.client.get(_LIST, params={"limit": 2, "skip": 1})
    assert names(page) == ["source 1", "source 2"]
    assert page.headers["link"] == '<?skip=3&limit=2>; rel="next", <?skip=0&limit=2>; rel="prev"'
    assert page.headers["x-total-count"] == "5"
    following = await service.client.get(page.links["next"]["url"].replace("?", f"{_LIST}?"))
    assert names(following) == ["source 3", "source 4"]
    assert "next" not in following.links
    nothing = await service.client.get(_LIST, params={"limit": 0})
    assert names(nothing) == []
    assert nothing.headers["x-total-count"] == "5"


async def test_list_is_searched_chosen_and_sorted_as_on_the_page(service: Service, config: Sql) -> None:
    """The whole source comes, as without; links keep what was asked for."""
    for name, lag, tables in (("a", 10, 1), ("b", None, 3), ("c", 5000, 2)):
        source = add_source(config, name=name, pg_host=f"{name}.example.com")
        for number in range(tables):
            add_table(config, source, f"t{number}")
        if lag is not None:
            config.execute(
                "INSERT INTO wal_monitor (source_id, replication_lag_bytes, error_message) VALUES (%s, %s, %s)",
                (source, lag, "slot is lost" if name == "c" else None),
            )

    async def listed(**query: str) -> list[str]:
        return names(await service.client.get(_LIST, params=query))

    assert await listed(search="B.EXAMPLE") == ["b"]
    assert await listed(search="slot is LOST") == ["c"]
    assert await listed(state="error") == ["c"]
    assert await listed(sort="lag") == ["c", "a", "b"]
    assert await listed(sort="tables") == ["b", "c", "a"]
    assert (await listed(sort="state"))[0] == "c"
    assert await listed(search="%") == []
    plain = {source["name"]: source for source in (await service.client.get(_LIST)).json()}
    sorted_page = await service.client.get(
        _LIST, params={"sort": "lag", "search": "example", "limit": "1", "skip": "1"}
    )
    assert sorted_page.json() == [plain["a"]]
    assert sorted_page.headers["x-total-count"] == "3"
    assert sorted_page.links["next"]["url"] == "?search=example&sort=lag&skip=2&limit=1"


@pytest.mark.parametrize(
    ("parameter", "value"), [("state", "broken"), ("state", "OK"), ("sort", "color"), ("limit", "x"), ("skip", "-1")]
)
async def test_what_a_parameter_does_not_know_is_named(service: Service, parameter: str, value: str) -> None:
    """422, with what it would know."""
    answer = await service.client.get(_LIST, params={parameter: value})
    assert answer.status_code == 422
    assert answer.json()["details"] == {"parameter": parameter, "value": value}
    assert answer.json()["message"].startswith(f"{parameter} must be ")


async def test_search_for_a_zero_byte_is_refused(service: Service) -> None:
    """PostgreSQL has none in its texts."""
    answer = await service.client.get(_LIST, params={"search": "\0"})
    assert answer.status_code == 422
    assert answer.json()["details"] == {"parameter": "search"}
