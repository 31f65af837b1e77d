"""Posts to a webhook: to an allowed host only, bounded in time, and never on to where an answer points."""

import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import httpx

from service.concurrency import within
from service.config.allowed_hosts import AllowedHosts
from service.config.webhooks import Webhook
from service.printable import one_line
from service.sources.resolver import Resolver

_BUDGET_S = 10.0
_TIMEOUT = httpx.Timeout(_BUDGET_S, connect=3.0)


class Poster:
    """Posts bodies. `hosts` as in ROSETTA_WEBHOOK_HOSTS."""

    def __init__(self, hosts: str) -> None:
        self._hosts = AllowedHosts(hosts) if hosts else None
        self._resolver = Resolver()

    async def post(self, webhook: Webhook, content: bytes, headers: Mapping[str, str]) -> str | None:
        """None if the webhook has accepted it (2xx), else why not, without its URL."""
        try:
            return await within(_BUDGET_S, self._post(webhook, content, headers))
        except TimeoutError:
            return f"no answer within {_BUDGET_S:.0f} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # The cause is the system's own word: httpx itself may quote the URL, whose path may be a secret.
            return one_line(f"{webhook.host}: {type(error).__name__}: {_cause(error)}")

    async def _post(self, webhook: Webhook, content: bytes, headers: Mapping[str, str]) -> str | None:
        host = webhook.host
        addresses = await self._resolver.addresses(host) or (host,)
        # The address that is checked is the one that is called: a name server may say something else a moment later.
        allowed = [address for address in addresses if self._hosts and self._hosts.allow(host, address)]
        if not allowed:
            return f"ROSETTA_WEBHOOK_HOSTS does not allow {host} ({', '.join(addresses)})"
        for address in allowed[:-1]:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await _post_to(address, webhook, content, headers)
        return await _post_to(allowed[-1], webhook, content, headers)


async def _post_to(address: str, webhook: Webhook, content: bytes, headers: Mapping[str, str]) -> str | None:
    url = httpx.URL(webhook.url)
    # No variable of the environment sends it by way of another host.
    async with (
        httpx.AsyncClient(verify=_tls(), trust_env=False, follow_redirects=False, timeout=_TIMEOUT) as client,
        client.stream(
            "POST",
            url.copy_with(host=address),
            content=content,
            headers={**headers, "Host": url.netloc.decode(), "User-Agent": "rosetta-source-details"},
            extensions={"sni_hostname": webhook.host},
        ) as response,
    ):
        # Not what it says: many an answer repeats the path, which may be a secret.
        return None if response.is_success else f"{webhook.host} answered {response.status_code}"


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # one of them is there
    return str(error) or type(error).__name__
