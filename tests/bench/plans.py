"""`python -m tests.bench.plans > sql/PLANS.md`: how PostgreSQL runs the statements of a page."""

import sys
from pathlib import Path

from service.database.migrations import migrate
from service.database.queries import query
from service.demo.reaper import Reaper
from service.demo.servers import Postgres
from tests.bench.rig import fill
from tests.fixtures.databases import Sql, connect
from tests.fixtures.view import asked

_SOURCES, _TABLES, _VERSIONS = 1000, 100, 10

_HEAD = f"""# Plans

`EXPLAIN (ANALYZE, BUFFERS)` of the statements of a page, with the generic plan that the service asks for
(`plan_cache_mode`), at {_SOURCES:,} sources with {_TABLES} tables and {_VERSIONS} versions each. Made by
`python -m tests.bench.plans > sql/PLANS.md`; `tests/database/test_plans.py` holds which indexes are used.
"""


def _plan(config: Sql, name: str, source: int) -> str:
    parameters = asked(source)
    for _ in range(3):
        config.execute(query(name), parameters, prepare=True).fetchone()
    rows = config.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {query(name)}", parameters, prepare=True).fetchall()
    lines = [row["QUERY PLAN"] for row in rows]
    return "```\n" + "\n".join(lines) + "\n```\n"


def main() -> None:
    """Prints the document."""
    parts = [_HEAD]
    with Reaper() as reaper:
        postgres = Postgres(reaper, "postgres", settings={"shared_buffers": "256MB"})
        postgres.start()
        migrate(postgres.dsn(), say=lambda _: None)
        with connect(postgres.dsn()) as config:
            ids = fill(config, _SOURCES, _TABLES, _VERSIONS)
            config.execute("SELECT source_details_refresh()")
            config.execute("VACUUM ANALYZE")
            config.execute("SET plan_cache_mode = force_generic_plan")
            parts += ["## details, from the view\n", _plan(config, "details", ids[_SOURCES // 2])]
            config.execute("UPDATE table_metadata_list SET column_order = '{}' WHERE id = 1")
            parts += ["## details, of a source that changed since the last refresh\n", _plan(config, "details", ids[0])]
            parts += ["## details_live, while the view is locked\n", _plan(config, "details_live", ids[0])]
        postgres.stop("immediate")
    sys.stdout.write("\n".join(parts))


if __name__ == "__main__":
    assert Path("sql").is_dir()
    main()
