"""A client that a generator makes of the OpenAPI document, used as its user would."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.config import tokens
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.process import StartProcess

pytestmark = pytest.mark.operations
# Its names are what the operation ids and schemas make them.
_PROGRAM = """
import json, sys
from client import AuthenticatedClient
from client.api.operations import explain_source, get_readiness
from client.api.sources import get_source, get_source_details, list_sources, sync_source
from client.api.tables import get_table_schema, list_available_tables
from client.models import Details, Error, HealthLevel, ListSourcesSort, ListSourcesState, Source, TableSchema

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True)
listed = list_sources.sync_detailed(client=client, sort=ListSourcesSort.STATE, state=ListSourcesState.UNKNOWN, limit=1)
(source,) = listed.parsed
assert isinstance(source, Source)
details = get_source_details.sync(source.id, client=client)
assert isinstance(details, Details)
(table,) = details.tables
assert details.meta.health.level is HealthLevel.WARNING, details.meta.health
schema = get_table_schema.sync(table.id, client=client, version=table.version)
assert isinstance(schema, TableSchema)
missing = get_source.sync(999, client=client)
assert isinstance(missing, Error) and missing.error == "EntityNotFoundError", missing
print(json.dumps({
    "name": source.name,
    "total": listed.headers["X-Total-Count"],
    "table": table.table_name,
    "columns": [column.column_name for column in schema.columns],
    "destinations": details.destinations,
    "process": get_readiness.sync(client=client)["status"] in ("ready", "degraded"),
    "available": list_available_tables.sync(source.id, client=client),
    "explained": explain_source.sync(source.id, client=client)["name"],
    "sync": sync_source.sync_detailed(source.id, client=client).status_code,
}))
"""


def test_generated_client_speaks_with_the_service(serve: StartProcess, config: Sql, tmp_path: Path) -> None:
    """Every shape is read by it; nothing in the document puzzles the generator."""
    source = add_source(config, name="shop", pg_port=1)
    add_table(config, source, "orders", 2)
    add_pipeline(config, source, "lake")
    token, entry = tokens.new("client", "operate")
    process = serve(ROSETTA_ACCESS_TOKENS=entry)
    process.until_ready()
    document = process.client.get("/schema/openapi.json", headers={"Authorization": f"Bearer {token}"})
    (tmp_path / "openapi.json").write_text(document.text)
    # Without its formatters, which are for people.
    (tmp_path / "generator.json").write_text('{"post_hooks": []}')
    generated = subprocess.run(
        [
            Path(sys.executable).parent / "openapi-python-client", "generate", "--path", "openapi.json",
            "--output-path", "client", "--meta", "none", "--config", "generator.json", "--fail-on-warning",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert generated.returncode == 0, generated.stdout + generated.stderr
    # Several classes for one enumeration would be told apart by a number.
    assert [path.name for path in (tmp_path / "client" / "models").glob("*type_[0-9]*_type_[0-9]*.py")] == []
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, process.url, token], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "name": "shop", "total": "1", "table": "orders", "columns": ["column_1", "column_2"],
        "destinations": ["lake"], "process": True, "available": ["orders"], "explained": "shop", "sync": 502,
    }  # fmt: skip
