"""What CLI commands ask Redis: what it holds of a source, and whether it can do what the service needs."""

from dataclasses import dataclass

from redis.exceptions import NoPermissionError, ResponseError

from service.cache.deployment import Deployment
from service.cache.keys import Keys
from service.cache.link import close
from service.cache.primaries import Primaries, Script
from service.cache.scripts import RECALL_TEXT
from service.cache.values import FAILURES, CacheUnavailableError, parse_publication

_LOOK = Script("""
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2]),
    redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3])}
""")
_PROBE = Script("""
redis.call('SET', KEYS[1], 'probe', 'PX', 1000)
redis.call('SET', KEYS[2], 'probe', 'PX', 1000)
return redis.call('GET', KEYS[1])
""")
# No source has this id.
_NO_SOURCE = 0


class CacheRefusesError(CacheUnavailableError):
    """Redis answers, but refuses a command that the service needs."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What Redis holds of a source. TTLs are in ms."""

    page: bytes | None
    page_ttl_ms: int
    is_being_computed: bool
    publication: bytes | None
    publication_ttl_ms: int


@dataclass(frozen=True, slots=True)
class Ability:
    """What Redis can do for the service. `may_fill_up`: it refuses to store once its memory is full.

    `mark` names the config database of the service that uses it; None if none does.
    """

    primaries: int
    mark: str | None
    tracks: bool
    may_fill_up: bool


async def held(deployment: Deployment, keys: Keys, source_id: int) -> Holding:
    """What Redis holds of a source. Raises CacheUnavailableError with the reason."""
    try:
        primaries = await deployment.find()
        names = keys.page(source_id), keys.lease(source_id), keys.publication(source_id)
        page, page_ttl, lease_ttl, publication, publication_ttl = await primaries.run(_LOOK, names, [])
    except FAILURES as error:
        raise CacheUnavailableError(str(error) or type(error).__name__) from None
    kept = parse_publication(publication)
    return Holding(page, page_ttl, lease_ttl > 0, kept.text if kept else None, publication_ttl)


async def examine(deployment: Deployment, keys: Keys) -> Ability:
    """Tries the commands that the service needs. Raises CacheRefusesError or CacheUnavailableError with the reason."""
    unused = keys.page(_NO_SOURCE), keys.lease(_NO_SOURCE)
    try:
        primaries = await deployment.find()
        await primaries.run(_PROBE, unused, [])
        tracks = await _try_links(primaries, keys.prefix, unused)
        mark = await primaries.run(RECALL_TEXT, [keys.mark], [])
        text = None if mark is None else mark[:100].decode("utf-8", "replace")
        return Ability(len(primaries.clients), text, tracks, await _may_fill_up(primaries))
    except ResponseError as error:
        raise CacheRefusesError(str(error)) from None
    except FAILURES as error:
        raise CacheUnavailableError(str(error) or type(error).__name__) from None


async def _try_links(primaries: Primaries, prefix: str, unused: tuple[str, str]) -> bool:
    """Deletes keys over them; returns whether these servers report changes of our keys."""
    try:
        tracks = all([await link.open(prefix, lambda _: None) for link in primaries.links])
        await primaries.delete([unused])
        await primaries.delete_matching(unused)
    finally:
        await close(primaries.links)
    return tracks


async def _may_fill_up(primaries: Primaries) -> bool:
    try:
        infos = [await client.info() for client in primaries.clients]
    except NoPermissionError:
        # The service does not need INFO.
        return False
    return any(info.get("maxmemory") and info.get("maxmemory_policy") == "noeviction" for info in infos)
