"""Asks a running process of the service over HTTP."""

import ipaddress
import json
import os
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from service.config.settings import Settings

_TIMEOUT_S = 5
_LARGEST_BYTES = 2**20


def own_url(chosen: Settings) -> str:
    """Where a process with these settings answers on this machine."""
    host = chosen.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{chosen.port}{chosen.root_path}"
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"  # IP's version
    return f"http://{f'[{host}]' if ':' in host else host}:{chosen.port}{chosen.root_path}"


def ask(url: str, path: str) -> dict[str, Any]:
    """The JSON object that the process at `url` answers; `error` with the reason if it does not.

    The token in ROSETTA_TOKEN is sent, to nobody else: no proxy, and no redirection is followed.
    """
    headers = {"Accept": "application/json"}
    if token := os.environ.get("ROSETTA_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}{path}", headers=headers)  # noqa: S310  # see _OPENER
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
            told: dict[str, Any] = json.loads(answer.read(_LARGEST_BYTES))
            return told
    except urllib.error.HTTPError as error:
        hint = "; ROSETTA_TOKEN may hold a token" if error.code == HTTPStatus.UNAUTHORIZED else ""
        return {"error": f"answers {error.code} {error.reason}{hint}"}
    except urllib.error.URLError as error:
        return {"error": f"does not answer ({error.reason})"}
    except (OSError, ValueError) as error:
        return {"error": f"does not answer as expected ({error or type(error).__name__})"}


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()
