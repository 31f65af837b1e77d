"""A rolling update under load: migrations first, then process by process. No request fails."""

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import service
from service.database import migrations
from tests import PROJECT
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import KEY, add_source, add_table
from tests.fixtures.packages import install
from tests.fixtures.process import SERVICE, Process, StartProcess, until
from tests.fixtures.rolling import Balancer, Readers

pytestmark = pytest.mark.operations


def test_no_request_fails_while_old_and_new_are_side_by_side(
    serve: StartProcess, config: Sql, config_dsn: str, tell: Callable[[str], None]
) -> None:
    """Old processes run on the earlier schema, new ones without rights on new tables, since nobody grants them."""
    source = add_source(config)
    add_table(config, source)
    # The state of a deployment before these migrations.
    config.execute("DROP TABLE source_details_schedule, source_details_lag, source_details_wal_round")
    config.execute("DELETE FROM source_details_migrations WHERE name ~ '^(009|010|present)'")
    balancer = Balancer()
    old = [serve(), serve()]
    for process in old:
        balancer.add(process)
    # The HTML pages also show data from the new migrations.
    paths = (f"/api/v1/sources/{source}/details", f"/sources/{source}/details", "/")
    with Readers(balancer, paths) as readers:
        applied = ["009_source_details_schedule.sql", "010_source_details_wal.sql"]
        applied += [f"present/{path.name}" for path in migrations.present()]
        assert run("migrate", config_dsn) == [f"applying {name}" for name in applied]
        for process in old:
            balancer.add(serve())
            balancer.take_out(process)
            process.end()
            config.execute("UPDATE sources SET total_tables = coalesce(total_tables, 0) + 1")
        readers.go_on(200)
    tell(f"rolling update: {readers.reads:,} requests, {len(readers.failures)} failed")
    assert readers.failures == []


class TestReleased:
    """From the last release, as its wheel has it, to this version."""

    @pytest.fixture
    def released(self, tmp_path: Path) -> dict[str, str]:
        """The variables with which Python runs the released package instead of the checkout."""
        (wheel,) = (PROJECT / "tests" / "deployment" / "released").glob("*.whl")
        site = tmp_path / "released"
        install(wheel, site)
        return {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}

    @pytest.fixture
    def config_dsn(self, databases: Databases, released: dict[str, str]) -> str:
        """A config database that the released version has migrated, with the rights that it had then."""
        databases.migrated()
        dsn = databases.create()
        assert run("migrate", dsn, released)[0] == "applying 001_base_tables.sql"
        with connect(dsn) as connection:
            connection.execute((Path(released["PYTHONPATH"]) / "service" / "deploy" / "roles.sql").read_bytes())
        return dsn

    def test_release_is_replaced_and_put_back(
        self, serve: StartProcess, config: Sql, config_dsn: str, released: dict[str, str], tell: Callable[[str], None]
    ) -> None:
        """Migrated, replaced process by process, and rolled back, under load; a change shows at each step."""
        source = add_source(config)
        add_table(config, source)
        path = f"/api/v1/sources/{source}/details"
        balancer = Balancer()
        running = [serve(**released), serve(**released)]
        for process in running:
            balancer.add(process)
            assert version(process) != service.__version__
        with Readers(balancer, (path, f"/sources/{source}/details", "/")) as readers:
            run("migrate", config_dsn)
            for step, variables in enumerate(({}, released)):
                for number, process in enumerate(running):
                    running[number] = serve(**variables)
                    balancer.add(running[number])
                    balancer.take_out(process)
                    process.end()
                    name = f"step {step} process {number}"
                    config.execute("UPDATE sources SET name = %s", (name,))
                    until(partial(shows, running, path, name))
                assert (version(running[0]) == service.__version__) == (step == 0)
                readers.go_on(100)
        tell(f"from the release and back: {readers.reads:,} requests, {len(readers.failures)} failed")
        assert readers.failures == []


def shows(processes: list[Process], path: str, name: str) -> bool:
    """Whether all of them say that this is the source's name."""
    return all(process.client.get(path).json()["source"]["name"] == name for process in processes)


def version(process: Process) -> str:
    """Of the API that it serves."""
    return str(process.client.get("/schema/openapi.json").json()["info"]["version"])


def run(command: str, config_dsn: str, variables: dict[str, str] | None = None) -> list[str]:
    """The lines that `rosetta` prints."""
    environment = os.environ | {"ROSETTA_CONFIG_DSN": config_dsn, "CREDENTIAL_ENCRYPTION_KEY": KEY} | (variables or {})
    ran = subprocess.run(
        [*SERVICE, command],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()
