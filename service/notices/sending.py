"""Sends notices: every process makes them from the timeline, claims those that are due, and posts them.

An entry of the timeline and the notices of it are joined in one statement, so that none is forgotten or made twice. A
claim lasts for a while: if the process dies, another one sends the notice again, with the same id (at least once). A
webhook that does not answer holds up no other: each has a task of its own.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Json

from service.concurrency import all_of
from service.config.webhooks import KINDS, Webhook
from service.database.pool import ConfigDatabase
from service.database.queries import escaped_like
from service.errors import ConfigDatabaseUnavailableError, ServiceError
from service.notices.messages import body, facts, headers
from service.notices.posting import Poster
from service.telemetry.events import NoticeFailed, NoticeSent, Observer

_LOOK_AGAIN_S = 1.0
# Longer than an attempt may take.
_CLAIM_S = 60
_AT_ONCE = 4
_FACTS_S = 20.0
_PRUNE_AGAIN_S = 3600.0


class Notices:
    """The notices of this deployment's webhooks. Each `run_...` runs until it is cancelled."""

    def __init__(self, database: ConfigDatabase, observer: Observer, webhooks: list[Webhook], hosts: str) -> None:
        self._database = database
        self._observe = observer
        self.webhooks = webhooks
        self._poster = Poster(hosts)
        self._wanted = [
            {
                "name": webhook.name,
                "kinds": webhook.kinds or list(KINDS),
                "sources": [escaped_like(pattern).replace("*", "%") for pattern in webhook.sources] or ["%"],
                "cooldown_s": webhook.cooldown_s,
            }
            for webhook in webhooks
        ]

    async def run_pruning(self) -> None:
        """Forgets the old part of the timeline and of the notices, now and then."""
        while True:
            await asyncio.sleep(_PRUNE_AGAIN_S)
            with suppress(ConfigDatabaseUnavailableError):
                await self._database.fetch_all("prune_timeline")

    async def run_webhook(self, webhook: Webhook) -> None:
        """Makes notices of what happened, and sends those for this webhook that are due."""
        while True:
            try:
                made = await self._database.fetch_one("make_notices", webhooks=Json(self._wanted))
                claimed = await self._database.fetch_all(
                    "claim_notices", webhook=webhook.name, claim_s=_CLAIM_S, count=_AT_ONCE
                )
                await all_of(self._send(webhook, notice) for notice in claimed)
            except ConfigDatabaseUnavailableError:
                made, claimed = None, []
            if not claimed and not (made and made["entries"]):
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _send(self, webhook: Webhook, notice: dict[str, Any]) -> None:
        try:
            # Well before the claim is over: another process would send it too.
            async with asyncio.timeout(_FACTS_S):
                said = await facts(self._database, notice)
            content = body(webhook, said)
            error = await self._poster.post(webhook, content, headers(webhook, said, content, datetime.now(UTC)))
        except Exception as failure:
            # Whatever it is, this notice must not be claimed forever, nor hold up the others. If the config database is
            # away, it is claimed again.
            why = failure.message if isinstance(failure, ServiceError) else type(failure).__name__
            error = f"it cannot be told: {why}"
        if error is None:
            await self._database.fetch_one("notice_sent", id=notice["id"])
            self._observe(NoticeSent(webhook=webhook.name, kind=notice["kind"], source_id=notice["source_id"]))
        else:
            await self._database.fetch_one("notice_failed", id=notice["id"], attempt=notice["attempts"], error=error)
            self._observe(NoticeFailed(webhook=webhook.name, kind=notice["kind"], reason=error))
