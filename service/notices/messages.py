"""What a notice says: the body that a webhook gets, and its signature."""

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.config.webhooks import Webhook
from service.database.pool import ConfigDatabase
from service.printable import printable
from service.sources.timeline import told

# Of one notice: the latest ones. `left_out` says how many more there were.
_MOST = 50
# Slack refuses a text of more than 40,000 characters and folds long ones.
_LONGEST = 3000
_TITLES = {
    "schema": "schema changed", "tables": "tables", "state": "replication slot", "reach": "connection",
    "pipeline": "pipelines", "destination": "destinations", "source": "source", "setting": "settings",
}  # fmt: skip


async def facts(database: ConfigDatabase, notice: Mapping[str, Any]) -> dict[str, Any]:
    """A notice as a JSON object: which source, and the entries of the timeline, the latest first.

    ConfigDatabaseUnavailableError.
    """
    rows = await database.fetch_all("notice_entries", entries=notice["entries"], most=_MOST)
    entries = await told(database, rows)
    return {
        "id": message_id(notice),
        "kind": notice["kind"],
        "source": {"id": notice["source_id"], "name": notice["source_name"]} if notice["source_id"] else None,
        "entries": entries,
        "left_out": notice["left_out"] + max(len(notice["entries"]) - len(entries), 0),
    }


def message_id(notice: Mapping[str, Any]) -> str:
    """The same at every attempt: a receiver that has it already may ignore the notice."""
    return f"notice-{notice['id']}"


def body(webhook: Webhook, said: Mapping[str, Any]) -> bytes:
    """What is posted, in the webhook's form."""
    return msgspec.json.encode({"text": _slack(said)} if webhook.form == "slack" else said)


def headers(webhook: Webhook, said: Mapping[str, Any], content: bytes, at: datetime) -> dict[str, str]:
    """The headers of an attempt, signed if the webhook has a secret.

    As https://www.standardwebhooks.com describes them: HMAC-SHA256 over the id, the time and the body.
    """
    moment = str(int(at.astimezone(UTC).timestamp()))
    sent = {"Content-Type": "application/json", "webhook-id": said["id"], "webhook-timestamp": moment}
    if webhook.key is not None:
        signed = f"{said['id']}.{moment}.".encode() + content
        digest = hmac.digest(webhook.key, signed, "sha256")
        sent["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return sent


def _slack(said: Mapping[str, Any]) -> str:
    source = said["source"]
    breaking = any(entry["verdict"] == "breaking" for entry in said["entries"])
    title = f"*{_escaped(source['name'] or 'a source that is gone') if source else 'All sources'}*: "
    title += _TITLES.get(said["kind"], said["kind"]) + (" (breaking)" if breaking else "")
    lines = [f"• {_escaped(says)}" for entry in said["entries"] for says in entry["says"]]
    if said["left_out"]:
        lines.append(f"and {said['left_out']} earlier entries")
    text = "\n".join([title, *lines])
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit("\n", 1)[0] + "\n…"


def _escaped(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text/#escaping"""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
