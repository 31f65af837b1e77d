"""The OpenAPI document: every endpoint has examples and error shapes, and real answers match it."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.runtime import Service, Start

_PREFIX = "/api/v1/sources"


async def described(service: Service) -> dict[str, Any]:
    """The OpenAPI document."""
    response = await service.client.get("/schema/openapi.json")
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    for name, schema in document["components"]["schemas"].items():
        # Stricter than for clients, which must accept additional keys.
        if "properties" in schema and name != "Error":
            schema["additionalProperties"] = False
    return document


def conforms(document: dict[str, Any], path: str, method: str, status: int, body: object) -> None:
    """Validates a body against the document's schema of that answer."""
    media = document["paths"][path][method]["responses"][str(status)]["content"]["application/json"]
    schema = media["schema"] | {"components": document["components"]}
    Draft202012Validator(schema, format_checker=None).validate(body)


async def test_every_endpoint_is_described_with_examples_and_errors(service: Service) -> None:
    """The pages for people are not in it."""
    document = await described(service)
    operations = {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert not [name for name in operations if name.startswith("HEAD")]
    api = {name for name in operations if "/api/" in name}
    assert api == {
        "GET /api/v1/events",
        "GET /api/v1/find",
        "GET /api/v1/notices",
        f"GET {_PREFIX}",
        f"GET {_PREFIX}/{{source_id}}",
        f"GET {_PREFIX}/{{source_id}}/details",
        f"GET {_PREFIX}/{{source_id}}/explanation",
        f"POST {_PREFIX}/{{source_id}}/refresh",
        f"GET {_PREFIX}/{{source_id}}/events",
        f"GET {_PREFIX}/{{source_id}}/timeline",
        f"GET {_PREFIX}/{{source_id}}/activity",
        f"GET {_PREFIX}/{{source_id}}/available_tables",
        f"GET {_PREFIX}/tables/{{table_id}}/schema",
    }
    assert {name.split()[1] for name in operations} - {name.split()[1] for name in api} == {
        "/health/live", "/health/ready", "/metrics"
    }  # fmt: skip
    for name in api:
        for status, response in operations[name]["responses"].items():
            if status in ("304",):
                continue
            media = response["content"].get("application/json") or response["content"]["text/event-stream"]
            assert media["examples"], (name, status)
            if "event-stream" in str(list(response["content"])):
                continue
            path = name.split()[1]
            for example in media["examples"].values():
                conforms(document, path, name.split()[0].lower(), int(status), example["value"])
    details = operations[f"GET {_PREFIX}/{{source_id}}/details"]["responses"]
    assert set(details) == {"200", "304", "401", "403", "404", "414", "422", "429", "503"}
    assert set(operations[f"GET {_PREFIX}"]["responses"]) == {"200", "401", "414", "422", "503"}
    for name in api:
        assert "404" in operations[name]["responses"] or "{" not in name
    # Generators of clients make names of them.
    assert operations[f"GET {_PREFIX}/{{source_id}}/details"]["operationId"] == "get_source_details"
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    chapters = {chapter["name"] for chapter in document["tags"]}
    assert all(set(operation["tags"]) <= chapters and operation["tags"] for operation in operations.values())
    parameters = [each for operation in operations.values() for each in operation.get("parameters", [])]
    assert [each["name"] for each in parameters if not each.get("description") or "oneOf" in each["schema"]] == []


async def test_answers_are_as_described(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """Details with every optional fact and with none; strictly: no additional key, and none missing."""
    published.execute("CREATE TABLE wide (n numeric(10, 2) DEFAULT 0 NOT NULL, t text[], u uuid PRIMARY KEY)")
    source, bare = add_source(config, shop_dsn), add_source(config)
    document = await described(service)
    report = await service.client.post(f"{_PREFIX}/{source}/refresh")
    conforms(document, _PREFIX + "/{source_id}/refresh", "post", 200, report.json())
    add_pipeline(config, source, "warehouse")
    config.execute(
        "INSERT INTO wal_monitor (source_id, total_wal_size, replication_lag_bytes, last_wal_received) "
        "VALUES (%s, '16 MB', 5, now())",
        (source,),
    )
    add_table(config, bare, None, 1)
    await service.settled(config)
    for number in (source, bare):
        conforms(document, _PREFIX + "/{source_id}/details", "get", 200, (await service.details(number)).json())
        one = await service.client.get(f"{_PREFIX}/{number}")
        conforms(document, _PREFIX + "/{source_id}", "get", 200, one.json())
    conforms(document, _PREFIX + "/{source_id}/details", "get", 200, await service.sync(source))
    conforms(document, _PREFIX + "/{source_id}/details", "get", 200, await service.sync(bare))
    conforms(document, _PREFIX, "get", 200, (await service.client.get(_PREFIX)).json())
    table = (await service.details(source)).json()["tables"][1]["id"]
    published.execute("ALTER TABLE orders ALTER id TYPE integer, DROP COLUMN note, ADD COLUMN x int")
    await service.sync(source)
    for number in (table, (await service.details(source)).json()["tables"][0]["id"]):
        schema = await service.client.get(f"{_PREFIX}/tables/{number}/schema")
        conforms(document, _PREFIX + "/tables/{table_id}/schema", "get", 200, schema.json())
    names = await service.client.get(f"{_PREFIX}/{source}/available_tables")
    conforms(document, _PREFIX + "/{source_id}/available_tables", "get", 200, names.json())
    for path, status in (("/999/details", 404), ("/x/details", 422)):
        error = await service.client.get(_PREFIX + path)
        conforms(document, _PREFIX + "/{source_id}/details", "get", status, error.json())
    failed = await service.client.post(f"{_PREFIX}/{bare}/refresh")
    assert failed.status_code == 502
    conforms(document, _PREFIX + "/{source_id}/refresh", "post", 502, failed.json())


async def test_description_would_notice_a_wrong_answer(service: Service, config: Sql) -> None:
    """An additional key, a missing key, another type."""
    source = add_source(config)
    document = await described(service)
    page = (await service.details(source)).json()
    path = _PREFIX + "/{source_id}/details"
    for wrong in (
        page | {"pg_password": "x"},
        {key: value for key, value in page.items() if key != "tables"},
        page | {"destinations": None},
        page | {"source": page["source"] | {"id": "1"}},
    ):
        with pytest.raises(ValidationError):
            conforms(document, path, "get", 200, wrong)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/v1"),
        ("GET", "/api/v1/pipelines"),
        ("POST", "/api/v1/sources"),
        ("PUT", "/api/v1/sources/1"),
        ("DELETE", "/api/v1/sources/1"),
        ("PATCH", "/api/v1/sources/1/details"),
        ("GET", "/api/v1/sources/1/refresh"),
        ("POST", "/api/v1/sources/tables/1/schema"),
        ("GET", "/api/v1/sources/1/presets"),
    ],
)
async def test_whatever_else_is_a_json_404(service: Service, method: str, path: str) -> None:
    """For a browser too: the platform's application crashes on anything else."""
    response = await service.client.request(method, path, headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["error"] == "NotFound"


async def test_refresh_then_details_is_the_new_state(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """The platform's application reads the details again right after its refresh button."""
    source = add_source(config, shop_dsn)
    await service.details(source)
    for number in range(5):
        published.execute(f"CREATE TABLE more_{number} (id int)")
        assert (await service.client.post(f"{_PREFIX}/{source}/refresh")).status_code == 200
        page = (await service.details(source)).json()
        assert f"more_{number}" in [table["table_name"] for table in page["tables"]]


async def test_other_sites_may_call_only_where_they_are_named(start: Start, config: Sql) -> None:
    """CORS: closed by default; a setting opens it for some origins, also on hits of the process cache."""
    source = add_source(config)
    closed, opened = await start(), await start(cors_origins="https://control.example.com, http://localhost:3000")
    path = f"{_PREFIX}/{source}/details"
    mine, other = {"Origin": "https://control.example.com"}, {"Origin": "https://elsewhere.example.com"}
    for service in (closed, opened):
        await service.settled(config)
        for _ in range(3):
            await service.details(source)
    assert "access-control-allow-origin" not in (await closed.client.get(path, headers=mine)).headers
    for _ in range(2):
        allowed = await opened.client.get(path, headers=mine)
        assert allowed.headers["access-control-allow-origin"] == "https://control.example.com"
        assert "origin" in allowed.headers["vary"].lower()
        assert "ETag" in allowed.headers["access-control-expose-headers"]
    refused = await opened.client.get(path, headers=other)
    assert "access-control-allow-origin" not in refused.headers
    preflight = mine | {"Access-Control-Request-Method": "POST"}
    asked = await opened.client.options(f"{_PREFIX}/{source}/refresh", headers=preflight)
    assert asked.status_code in (200, 204)
    assert asked.headers["access-control-allow-origin"] == "https://control.example.com"
    missing = await opened.client.get(f"{_PREFIX}/999/details", headers=mine)
    assert missing.status_code == 404
    assert missing.headers["access-control-allow-origin"] == "https://control.example.com"
