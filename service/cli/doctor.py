"""`rosetta doctor`: checks every dependency, right, index, trigger and setting, and names a remedy for each problem."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Literal

import click
import psycopg

from service.cache.inspection import CacheRefusesError, examine
from service.cache.values import CacheUnavailableError
from service.cli.output import FAILED, FINE, say, show_json
from service.cli.parameters import as_json
from service.cli.workbench import Workbench, run
from service.config import settings
from service.config.credentials import UndecryptablePasswordError, decrypt
from service.database.condition import REPAIR, find_troubles
from service.database.connection import conninfo, reason
from service.database.migrations import check
from service.errors import ServiceError, SourceUnreachableError, StartError
from service.sources.address import SourceAddress

_REFRESHED_BY = "SELECT source_details_refresh()"


State = Literal["fine", "degraded", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, its state, and what to do about it."""

    subject: str
    state: State
    says: str
    remedy: str = ""


@click.command("doctor")
@click.option("--sources", "with_sources", is_flag=True, help="Also connect to every source.")
@as_json
def command(with_sources: bool, is_json: bool) -> int:
    """Check every dependency, right, index, trigger and setting, and name a remedy for each problem.

    The exit code is 1 if anything is broken.

    \b
    Example:
      rosetta doctor --sources
    """
    # Checked before anything is opened: these problems keep the service from starting.
    early, can_open = _early()
    if not can_open:
        _tell(early, is_json=is_json)
        return FAILED

    async def examine_all(bench: Workbench) -> int:
        findings = await _examine(bench, early, with_sources=with_sources)
        _tell(findings, is_json=is_json)
        return FAILED if any(finding.state == "broken" for finding in findings) else FINE

    return run("doctor", examine_all)


def _tell(findings: list[Finding], *, is_json: bool) -> None:
    if is_json:
        show_json([asdict(finding) for finding in findings])
        return
    signs = {"fine": "ok  ", "degraded": "warn", "broken": "FAIL"}
    for finding in findings:
        say(f"{signs[finding.state]}  {finding.subject}: {finding.says}")
        say(*(f"      {line}" for line in finding.remedy.splitlines()))


def _early() -> tuple[list[Finding], bool]:
    """The findings before anything is opened, and whether the parts of the service can be opened."""
    try:
        chosen = settings.load()
    except StartError as error:
        return [Finding("settings", "broken", str(error), "rosetta settings shows every setting")], False
    try:
        missing = check(chosen.config_dsn.get_secret_value())
    except StartError as error:
        remedy = "check ROSETTA_CONFIG_DSN, and who may connect"
        return [Finding("config database", "broken", str(error), remedy)], False
    if missing.names:
        finding = Finding("migrations", "broken", f"missing: {', '.join(missing.names)}", missing.remedy)
        return [finding], not missing.files
    return [Finding("migrations", "fine", "all are applied")], True


async def _examine(bench: Workbench, early: list[Finding], *, with_sources: bool) -> list[Finding]:
    findings = [Finding("settings", "fine", "valid"), *early]
    findings += [finding async for finding in _lacking(bench)]
    # The other checks read relations: without one, or the right to read it, they could only fail.
    can_ask = not any(finding.subject == "relations" or finding.says.startswith("SELECT") for finding in findings)
    for look in (_view, _listener, _redis, _passwords) if can_ask else (_listener, _redis):
        findings += [finding async for finding in look(bench)]
    if with_sources and can_ask:
        findings += [finding async for finding in _sources(bench)]
    return findings


async def _view(bench: Workbench) -> AsyncIterator[Finding]:
    try:
        view = await bench.database.fetch_one("view_state")
    except ServiceError as error:
        yield Finding("config database", "broken", error.message, REPAIR)
        return
    assert view is not None
    yield Finding("config database", "fine", "answers")
    troubles = {trouble.subject: trouble for trouble in find_troubles(view)}
    for trouble in troubles.values():
        state: State = "broken" if trouble.is_broken else "degraded"
        yield Finding(trouble.subject, state, trouble.says, trouble.remedy)
    if "triggers" not in troubles:
        yield Finding("triggers", "fine", f"all {view['triggers_wanted']} fire")
    if "event trigger" not in troubles:
        yield Finding("event trigger", "fine", "a REFRESH by hand is noticed at once")
    if view["uncovered_s"] > 60:
        yield Finding(
            "view", "degraded",
            f"{view['uncovered_sources']} sources have been read live for {view['uncovered_s']:.0f} s",
            f"check that rosetta serve is running, or run: {_REFRESHED_BY}",
        )  # fmt: skip
    else:
        yield Finding("view", "fine", f"refreshed at {view['refreshed_at']} in {view['last_duration_ms']} ms")


async def _lacking(bench: Workbench) -> AsyncIterator[Finding]:
    rows = await bench.database.fetch_all("lacking")
    for row in rows:
        what = row["what"]
        match row["kind"]:
            case "missing":
                by = "the platform creates this table" if row["is_platforms"] else REPAIR
                yield Finding("relations", "broken", f"{what} does not exist", by)
            case "right":
                remedy = "psql -f service/deploy/roles.sql"
                yield Finding("rights", "broken", f"{what} is missing", remedy)
            case "broken index":
                yield Finding("indexes", "broken", f"{what} is not valid", f"REINDEX INDEX CONCURRENTLY {what}")
            case _:
                yield Finding("indexes", "broken", f"{what} is missing", REPAIR)
    if not rows:
        yield Finding("rights and indexes", "fine", "none is missing")


async def _listener(bench: Workbench) -> AsyncIterator[Finding]:
    """Whether a notification of one session reaches another that listens as the service would."""
    dsn = bench.settings.listener_dsn or bench.settings.config_dsn
    try:
        connection = await psycopg.AsyncConnection.connect(conninfo(dsn.get_secret_value()), autocommit=True)
    except psycopg.Error as error:
        yield Finding("listener", "broken", reason(error), "check ROSETTA_LISTENER_DSN")
        return
    channel = "source_details_doctor"
    async with connection:
        await connection.execute("LISTEN source_details_doctor")
        await bench.database.fetch_nowait("canary", channel=channel, token=channel)
        received = [notice.payload async for notice in connection.notifies(timeout=2, stop_after=1)]
    if received:
        yield Finding("listener", "fine", "notifications arrive")
    else:
        yield Finding(
            "listener", "broken", "notifications do not arrive: a pooler is in between, or it is another database",
            "set ROSETTA_LISTENER_DSN to the primary, without a pooler",
        )  # fmt: skip


async def _redis(bench: Workbench) -> AsyncIterator[Finding]:
    try:
        redis = await examine(bench.redis, bench.cache.keys)
    except CacheRefusesError as error:
        yield Finding(
            "Redis", "degraded", f"refuses what the service needs ({error}): pages come from each process and "
            "PostgreSQL", "docs/redis.md lists the rights; INFO memory says whether it is full",
        )  # fmt: skip
        return
    except CacheUnavailableError as error:
        yield Finding(
            "Redis", "degraded", f"is not used ({error}): pages come from each process and PostgreSQL",
            "check ROSETTA_REDIS_URL",
        )  # fmt: skip
        return
    count = redis.primaries
    yield Finding(
        "Redis", "fine", f"all {count} primaries accept what is needed" if count > 1 else "accepts what is needed"
    )
    identity: str | None = None
    with contextlib.suppress(ServiceError):
        # Without it, the findings about the config database say why.
        identity = await bench.identity()
    if identity and redis.mark not in (None, identity):
        yield Finding(
            "Redis mark", "degraded", f"it is used for another config database ({redis.mark}; this one is {identity})",
            "give each config database a Redis of its own, or set ROSETTA_REDIS_PREFIX",
        )  # fmt: skip
    if not redis.tracks:
        yield Finding(
            "Redis tracking", "degraded", "CLIENT TRACKING is refused: pages are not kept in the processes",
            "docs/redis.md lists the rights; a proxy may not support it",
        )  # fmt: skip
    if redis.may_fill_up:
        yield Finding(
            "Redis memory", "degraded", "limited, with noeviction: once it is full, no page is stored",
            "CONFIG SET maxmemory-policy volatile-lru (every key of the service has a TTL)",
        )  # fmt: skip


async def _passwords(bench: Workbench) -> AsyncIterator[Finding]:
    wrong = []
    for row in await bench.database.fetch_all("encrypted_passwords"):
        try:
            decrypt(bench.settings.encryption_key, row["pg_password"])
        except UndecryptablePasswordError:
            wrong.append(row["name"])
    if wrong:
        yield Finding(
            "source passwords", "broken", f"cannot be decrypted: {', '.join(wrong[:10])}",
            "CREDENTIAL_ENCRYPTION_KEY must be the platform's",
        )  # fmt: skip
    else:
        yield Finding("source passwords", "fine", "all can be decrypted")


async def _sources(bench: Workbench) -> AsyncIterator[Finding]:
    for known in await bench.database.fetch_all("source_ids"):
        row = await bench.database.fetch_one("source_connection", id=known["id"])
        if row is None:
            continue
        subject = f"source {known['id']} ({known['name']})"
        try:
            address = SourceAddress.of(row)
            budget_s = bench.settings.sync_budget_ms / 1000
            await bench.connections.fetch(
                address, "remote_publication", budget_s=budget_s, publication=address.publication_name
            )
            yield Finding(subject, "fine", "answers")
        except SourceUnreachableError as error:
            yield Finding(subject, "broken", error.message, f"rosetta sources test {known['id']}")
