"""`rosetta sources`: lists, shows, tests, adds and removes sources."""

import functools
import json
import sys
from typing import Any

import click
import psycopg

from service.cli.output import FAILED, FINE, complain, is_confirmed, say, show_json, show_table
from service.cli.parameters import as_json, not_empty
from service.cli.parameters import source as source_argument
from service.cli.workbench import Workbench, run
from service.config.credentials import encrypt
from service.printable import printable_json
from service.sources.address import SourceAddress
from service.sources.health import LEVELS, look
from service.sources.overview import SORTS, select
from service.sources.state import read_state
from service.sources.traps import traps
from service.units import amount, duration, moment


@click.group("sources")
def command() -> None:
    """List, show, test, add and remove sources."""


@command.command("list")
@click.option("--search", default="", help="Only sources with this in their name, address, state or reasons.")
@click.option("--state", type=click.Choice(LEVELS), help="Only sources in this state.")
@click.option("--sort", type=click.Choice(list(SORTS)), default="state", show_default=True, help="By what to sort.")
@as_json
def list_sources(search: str, state: str | None, sort: str, is_json: bool) -> int:
    """List sources, the worst first. `rosetta sources show` has the reasons.

    \b
    Examples:
      rosetta sources list --state error
      rosetta sources list --search example.com --sort lag
    """

    async def work(bench: Workbench) -> int:
        found = select(await bench.overview.sources(), search=search, state=state or "", sort=sort).sources
        if is_json:
            show_json([source.facts for source in found])
            return FINE
        rows = [
            (
                source.id, source.name, source.level, source.tables,
                None if source.lag_bytes is None else amount(source.lag_bytes), _short(source.synced_at),
            )
            for source in found
        ]  # fmt: skip
        show_table(("ID", "NAME", "STATE", "TABLES", "LAG", "LAST SYNC"), rows, right=("ID", "TABLES", "LAG"))
        return FINE

    return run("sources list", work, needs_key=False)


@command.command("show")
@source_argument
@as_json
def show(source: str, is_json: bool) -> int:
    """Show SOURCE: address, state with reasons, tables.

    \b
    Example:
      rosetta sources show shop
    """

    async def work(bench: Workbench) -> int:
        source_id, _ = await bench.source(source)
        answer = await bench.pages.reload(source_id)
        if is_json:
            print(printable_json(answer.page.body.decode()))
            return FINE
        state = await bench.database.fetch_one("source_state", id=source_id)
        page = json.loads(answer.page.body)
        facts = page["source"]
        place = f"{facts['pg_username']}@{facts['pg_host']}:{facts['pg_port']}/{facts['pg_database']}"
        health = page["meta"]["health"]
        _pairs({"id": source_id, "place": place, **(state or {}), **_outlook(page), "state": health["level"]})
        for reason in health["reasons"]:
            say(f"  {reason['says']}", *(f"    {line}" for line in (reason["remedy"] or "").splitlines()))
        tables = page["tables"]
        rows = [(each["id"], each["table_name"], each["version"], len(each["schema_table"])) for each in tables]
        say("")
        show_table(("ID", "TABLE", "VERSION", "COLUMNS"), rows, right=("ID", "VERSION", "COLUMNS"))
        for each in tables:
            say(*(f"{each['table_name']}: {trap}" for trap in traps(each)))
        return FINE

    # A page asks its source what it publishes; without the key it shows what the last sync found.
    return run("sources show", work, needs_key=False)


@command.command("test")
@source_argument
@as_json
def test(source: str, is_json: bool) -> int:
    """Connect to SOURCE and show its publication and slot. What is missing there is named with the SQL that makes it.

    The exit code is 1 if anything is.

    \b
    Example:
      rosetta sources test shop
    """

    async def work(bench: Workbench) -> int:
        row = await bench.database.fetch_one("source_connection", id=(await bench.source(source))[0])
        assert row is not None
        address = SourceAddress.of(row)
        read = functools.partial(
            read_state,
            publication=address.publication_name,
            slot=address.replication_name,
            limits=bench.connections.limits,
        )
        seen, phases = await bench.connections.use(address, read, budget_s=bench.settings.sync_budget_ms / 1000)
        slot = seen.slot_body()
        facts = {
            "publication": address.publication_name,
            "publication_exists": seen.publication["has_publication"],
            "published_tables": seen.publication["published_tables"],
            "slot": address.replication_name,
            "slot_state": slot,
            "wal_lsn": seen.wal_lsn,
            "server_version": seen.server["server_version"],
            "wal_level": seen.server["wal_level"],
            "unread": [*seen.unread.items(), *seen.not_known.items()],
            "connect_ms": phases["connect"],
            "asked_ms": phases["source"],
        }
        if is_json:
            show_json(facts)
        else:
            state = "none"
            if slot is not None:
                state = slot.get("unfit") or f"{'active' if slot['active'] else 'inactive'}, {slot['plugin']}"
            _pairs(
                facts
                | {
                    "publication_exists": "yes" if facts["publication_exists"] else "no",
                    "slot_state": state,
                    "unread": "; ".join(f"{what}: {why}" for what, why in facts["unread"]) or "nothing",
                }
            )
        findings = look(address, seen)
        for finding in findings:
            complain(f"{finding.says}; run: {finding.remedy}")
        return FAILED if findings else FINE

    return run("sources test", work)


@command.command("add")
@click.argument("name", callback=not_empty)
@click.option("--host", required=True, callback=not_empty, help="Its server.")
@click.option("--port", type=click.IntRange(1, 65_535), default=5432, show_default=True)
@click.option("--database", required=True, callback=not_empty)
@click.option("--user", required=True, callback=not_empty)
@click.option("--publication", default="rosetta", show_default=True)
@click.option("--slot", default="rosetta_slot", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@as_json
def add(password_stdin: bool, is_json: bool, **values: Any) -> int:
    """Add a source called NAME; prompts for its password. This needs the rights of the config database's owner.

    \b
    Examples:
      rosetta sources add shop --host db.example.com --database shop --user me
      rosetta sources add shop ... --password-stdin < password
    """
    # Before anything is awaited: Ctrl-C at a prompt must end it.
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        password = click.prompt(
            f"password of {values['user']} (empty for none)", default="", hide_input=True, show_default=False, err=True
        )
    else:
        raise click.UsageError("there is no terminal to ask for the password: use --password-stdin")

    async def work(bench: Workbench) -> int:
        encrypted = encrypt(bench.settings.encryption_key, password) if password else None
        try:
            row = await bench.database.fetch_nowait("add_source", **values, password=encrypted)
        except psycopg.errors.UniqueViolation:
            complain(f"rosetta sources add: a source named {values['name']} already exists")
            return FAILED
        assert row is not None
        if is_json:
            show_json(row)
        else:
            say(f"source {row['id']}; next: rosetta sources test {values['name']}")
        return FINE

    return run("sources add", work, needs_key=bool(password))


@command.command("remove")
@source_argument
@click.option("--yes", "is_wanted", is_flag=True, help="Do not ask for confirmation.")
@as_json
def remove(source: str, is_wanted: bool, is_json: bool) -> int:
    """Remove SOURCE and everything recorded about it. This needs the rights of the config database's owner.

    \b
    Example:
      rosetta sources remove shop
    """
    found: list[tuple[int, str, int]] = []

    async def find(bench: Workbench) -> int:
        source_id, name = await bench.source(source)
        state = await bench.database.fetch_one("source_state", id=source_id)
        found.append((source_id, name, state["registered_tables"] if state else 0))
        return FINE

    # Before the second part, without a loop: Ctrl-C at the question must end it.
    if code := run("sources remove", find, needs_key=False):
        return code
    source_id, name, tables = found[0]
    if not is_wanted and not is_confirmed(f"remove {name} with its {tables} tables and their versions?"):
        complain("rosetta sources remove: nothing was removed; use --yes to skip the question")
        return FAILED

    async def work(bench: Workbench) -> int:
        await bench.database.fetch_nowait("remove_source", id=source_id)
        if is_json:
            show_json({"id": source_id, "name": name})
        else:
            say(f"removed {name}")
        return FINE

    return run("sources remove", work, needs_key=False)


def _outlook(page: dict[str, Any]) -> dict[str, str]:
    """The lag, and when the slot is lost; only what is known."""
    wal, outlook = page["wal_monitor"] or {}, page["meta"].get("outlook") or {}
    facts = {}
    if (lag := wal.get("replication_lag_bytes")) is not None:
        facts["lag"] = amount(lag)
    if outlook.get("lag_s") is not None:
        facts["lag in time"] = f"about {duration(outlook['lag_s'])}, at most {duration(outlook['lag_most_s'])}"
    if outlook.get("lost_in_s") is not None:
        rate = f"{amount(outlook['rate_bytes'])}/s over {duration(outlook['rate_over_s'])}"
        name = "disk full" if outlook["is_disk_limit"] else "slot lost"
        facts[name] = f"in about {duration(outlook['lost_in_s'])}, at this rate: {rate}"
    return facts


def _short(text: str | None) -> str | None:
    """Without the fraction of a second: the whole is in JSON."""
    return text and moment(text)


def _pairs(facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        say(f"{key.replace('_', ' '):18}  {'-' if value is None else value}")
