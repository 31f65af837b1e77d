"""`rosetta sources`: lists, shows, tests, adds and removes sources."""

import argparse
import asyncio
import functools
import getpass
import json
import sys

import psycopg

from service.cli.common import FAILED, FINE, WRONG, Workbench, complain, confirmed, run, say, show, table
from service.config.credentials import encrypt
from service.errors import EntityNotFoundError
from service.http.templates import amount
from service.printable import printable_json
from service.sources.address import SourceAddress
from service.sources.health import look
from service.sources.overview import select
from service.sources.state import read_state


def main(arguments: list[str]) -> int:
    """0 on success, 1 on failure, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="rosetta sources", description="Manage the sources in the config database.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    listing = commands.add_parser("list", help="list all sources with their health")
    listing.add_argument("--search", default="", help="only sources whose name, host or database contains this")
    showing = commands.add_parser("show", help="show a source with its tables")
    testing = commands.add_parser("test", help="connect to a source and show its publication and slot")
    removing = commands.add_parser("remove", help="remove a source and everything recorded about it")
    removing.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for each in (showing, testing, removing):
        each.add_argument("id", type=int)
    adding = commands.add_parser("add", help="add a source; prompts for its password")
    adding.add_argument("name")
    for name, default in (("host", None), ("database", None), ("user", None), ("publication", "rosetta")):
        adding.add_argument(f"--{name}", required=default is None, default=default)
    adding.add_argument("--slot", default="rosetta_slot")
    adding.add_argument("--port", type=int, default=5432)
    adding.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    for each in (listing, showing, testing, adding, removing):
        each.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    work = {"list": _list, "show": _show, "test": _test, "add": _add, "remove": _remove}[options.command]
    return run(f"sources {options.command}", functools.partial(work, options))


async def _list(options: argparse.Namespace, bench: Workbench) -> int:
    found = select(await bench.overview.sources(), search=options.search, state="", sort="state").sources
    rows = [
        (
            source.id, source.name, source.place,
            source.level + (f" ({'; '.join(reason.says for reason in source.reasons)})" if source.reasons else ""),
            source.tables, None if source.lag_bytes is None else amount(source.lag_bytes), source.synced_at,
        )
        for source in found
    ]  # fmt: skip
    lines = table(("ID", "NAME", "PLACE", "STATE", "TABLES", "LAG", "LAST SYNC"), rows)
    show([source.facts for source in found], lines, as_json=options.json)
    return FINE


async def _show(options: argparse.Namespace, bench: Workbench) -> int:
    answer = await bench.pages.reload(options.id)
    if options.json:
        print(printable_json(answer.page.body.decode()))
        return FINE
    state = await bench.database.fetch_one("source_state", id=options.id)
    assert state is not None
    for key, value in state.items():
        say(f"{key.replace('_', ' '):18}  {'-' if value is None else value}")
    page = json.loads(answer.page.body)
    judged = page["meta"]["health"]
    say(f"{'health':18}  {judged['level']}")
    for reason in judged["reasons"]:
        say(f"  {reason['says']}", *(f"    {line}" for line in (reason["remedy"] or "").splitlines()))
    rows = [(each["id"], each["table_name"], each["version"], len(each["schema_table"])) for each in page["tables"]]
    say("", *table(("ID", "TABLE", "VERSION", "COLUMNS"), rows))
    return FINE


async def _test(options: argparse.Namespace, bench: Workbench) -> int:
    row = await bench.database.fetch_one("source_connection", id=options.id)
    if row is None:
        raise EntityNotFoundError("Source", str(options.id))
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
    state = "none"
    if slot is not None:
        state = slot.get("unfit") or f"{'active' if slot['active'] else 'inactive'}, {slot['plugin']}"
    words = facts | {
        "publication_exists": "yes" if facts["publication_exists"] else "no",
        "slot_state": state,
        "unread": "; ".join(f"{what}: {why}" for what, why in facts["unread"]) or "nothing",
    }
    show(facts, [f"{key.replace('_', ' '):18}  {value}" for key, value in words.items()], as_json=options.json)
    findings = look(address, seen)
    for finding in findings:
        complain(f"{finding.says}; run: {finding.remedy}")
    return FAILED if findings else FINE


async def _add(options: argparse.Namespace, bench: Workbench) -> int:
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"password of {options.user} (empty for none): ")
    else:
        complain("rosetta sources add: no terminal to ask for the password; use --password-stdin")
        return WRONG
    values = {name: getattr(options, name) for name in ("name", "host", "port", "database", "user")}
    values |= {"publication": options.publication, "slot": options.slot}
    encrypted = encrypt(bench.settings.encryption_key, password) if password else None
    try:
        row = await bench.database.fetch_nowait("add_source", **values, password=encrypted)
    except psycopg.errors.UniqueViolation:
        complain(f"rosetta sources add: a source named {options.name} already exists")
        return FAILED
    assert row is not None
    show(row, [f"source {row['id']}; next: rosetta sources test {row['id']}"], as_json=options.json)
    return FINE


async def _remove(options: argparse.Namespace, bench: Workbench) -> int:
    state = await bench.database.fetch_one("source_state", id=options.id)
    if state is None:
        raise EntityNotFoundError("Source", str(options.id))
    if not options.yes:
        question = f"remove {state['name']} with its {state['registered_tables']} tables and their versions?"
        if not await asyncio.to_thread(confirmed, question):
            complain("rosetta sources remove: nothing was removed; use --yes to skip the question")
            return FAILED
    await bench.database.fetch_nowait("remove_source", id=options.id)
    show({"id": options.id, "name": state["name"]}, [f"removed {state['name']}"], as_json=options.json)
    return FINE
