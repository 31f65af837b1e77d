"""Webhooks, as a setting names them: who is told what happens to sources, and how."""

import base64
import binascii
import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from service.config.allowed_hosts import AllowedHosts

_MOST = 20
_URL = re.compile(r"https?://[^\s@/?#]+(/[^\s#]*)?")
_SECRET_PREFIX = "whsec_"  # noqa: S105  # how such a secret begins
_SHORTEST_KEY = 24

Kind = Literal["schema", "tables", "state", "reach", "pipeline", "destination", "source", "setting"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One webhook. `kinds` and `sources` (names; `*` matches any part) empty: all. `cooldown_s`: seconds between two of
    its notices about the same source and kind; what happens meanwhile comes in the next one.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
    url: str
    form: Literal["json", "slack"] = "json"
    secret: str | None = None
    kinds: list[Kind] = []
    sources: list[str] = []
    cooldown_s: Annotated[int, Meta(ge=0, le=86_400)] = 300

    def __repr__(self) -> str:
        return f"Webhook({self.name})"

    @property
    def host(self) -> str:
        """The host of its URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def hidden(self) -> list[str]:
        """The parts of it that nobody may see."""
        # Anybody who has the path of Slack's URL can post, or the query of other services'.
        url = urlsplit(self.url)
        return [part for part in (url.path if url.path.strip("/") else "", url.query, self.secret) if part]

    @property
    def key(self) -> bytes | None:
        """The key that its notices are signed with; None if they are not signed."""
        return None if self.secret is None else base64.b64decode(self.secret.removeprefix(_SECRET_PREFIX))


def parse(text: str, allowed_hosts: str) -> list[Webhook]:
    """The webhooks of a JSON array. ValueError, which quotes no URL and no secret, for anything else."""
    if not text:
        return []
    try:
        webhooks = msgspec.json.decode(text, type=list[Webhook])
    except msgspec.MsgspecError as error:
        raise ValueError(f"is no list of webhooks ({error}); see docs/timeline.md") from None
    if len(webhooks) > _MOST:
        raise ValueError(f"has more than {_MOST} webhooks")
    if len({webhook.name for webhook in webhooks}) < len(webhooks):
        raise ValueError("has two webhooks of the same name")
    for webhook in webhooks:
        if problem := _problem(webhook, allowed_hosts):
            raise ValueError(f"webhook '{webhook.name}': {problem}")
    return webhooks


def _problem(webhook: Webhook, allowed_hosts: str) -> str | None:
    if not _URL.fullmatch(webhook.url) or not webhook.host:
        return "its url is none; example: https://hooks.example.com/rosetta"
    try:
        _ = urlsplit(webhook.url).port
    except ValueError:
        return "its url has no such port"
    if not allowed_hosts:
        return f"ROSETTA_WEBHOOK_HOSTS must allow {webhook.host}"
    hosts = AllowedHosts(allowed_hosts)
    # A name may be allowed by its address, which only a look-up tells, when a notice is sent.
    if _is_address(webhook.host) and not hosts.allow(webhook.host, webhook.host):
        return f"ROSETTA_WEBHOOK_HOSTS does not allow {webhook.host}"
    if webhook.secret is None:
        return None
    try:
        key = base64.b64decode(webhook.secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not webhook.secret.startswith(_SECRET_PREFIX) or len(key) < _SHORTEST_KEY:
        return "its secret is not whsec_ and base64 of at least 24 bytes; try: echo whsec_$(openssl rand -base64 32)"
    return None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
