"""Two hosts behind HAProxy, one Redis, a primary with a standby: each part is lost in turn, under load.

The tests share one deployment, which is whole at the end of each.
"""

import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from tests.fixtures.databases import connect, until_caught_up
from tests.fixtures.lost_parts import READERS, Met, Users
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.network import Host
from tests.fixtures.process import until
from tests.fixtures.two_hosts import TTL_S, TwoHosts

pytestmark = [pytest.mark.faults, pytest.mark.alone, pytest.mark.timeout(300)]

# A host that is told nothing finds out long before a page's life ends.
_MOST_STALE_S = 4
assert _MOST_STALE_S < TTL_S
# A page may wait 12 s for a host that has vanished, and the service 5 s for its database.
_HEALED_WITHIN_S = 40
# Whose answer was half sent when its host was lost: that cannot be asked for again.
_HALF_SENT = READERS


class Loss:
    """Loses parts, tells what users met, and holds the bounds."""

    def __init__(self, parts: TwoHosts, users: Users, tell: Callable[[str], None]) -> None:
        self.parts, self.users, self._tell = parts, users, tell

    def of(
        self, what: str, lose: Callable[[], object], put_back: Callable[[], object] = lambda: None, *, lost: float = 0
    ) -> Met:
        """What users met from the loss until all is as before; at most `lost` of their requests brought no page."""
        began = monotonic()
        try:
            lose()
            self.users.go_on()
        finally:
            put_back()
        until(self.parts.is_whole)
        self.users.go_on()
        met = self.users.since(began)
        self._tell(
            f"two hosts, lost: {what}: {met.reads:,} requests, {met.lost} without a page {dict(met.why) or ''}, "
            f"{met.last_known} last known ({met.old_s:.2f} s), oldest {met.stale_s:.2f} s, "
            f"slowest {met.slowest_s:.2f} s, as before after {met.healed_s:.1f} s"
        )
        assert met.lost <= lost, met
        assert met.stale_s < _MOST_STALE_S, met
        assert met.healed_s < _HEALED_WITHIN_S, met
        return met


@pytest.fixture
def loss(two_hosts: TwoHosts, tell: Callable[[str], None]) -> Iterator[Loss]:
    """A deployment in use; this thread is where its users are."""
    parts = two_hosts
    with parts.users.inside():
        with parts.connect() as config:
            config.execute("DELETE FROM sources")
            sources = [add_source(config, name=f"{number} v0") for number in range(3)]
            for source in sources:
                add_table(config, source)
        with Users(parts.users, parts.url, parts.connect, sources) as users:
            yield Loss(parts, users, tell)


def test_one_host_is_enough(loss: Loss) -> None:
    """Whether it goes politely, dies, or vanishes."""
    parts = loss.parts
    host = parts.hosts["a"]
    met = loss.of("a worker is killed", lambda: os.kill(parts.workers("a")[0], signal.SIGKILL), lost=_HALF_SENT)
    assert met.slowest_s < 1
    loss.of("a host stops (SIGTERM)", lambda: parts.stop_host("a"), lambda: parts.start_host("a"))
    loss.of("a host is killed", lambda: parts.kill_host("b"), lambda: parts.start_host("b"), lost=_HALF_SENT)
    network = parts.network
    loss.of("a host's cable", lambda: network.unplug(host), lambda: network.plug(host), lost=_HALF_SENT)


def test_host_that_is_told_nothing_serves_nothing_old_for_long(loss: Loss) -> None:
    """Redis tells it what the other host has evicted; without Redis as well, it finds out by itself."""
    parts, network, users = loss.parts, loss.parts.network, loss.users
    host, primary, redis = parts.hosts["b"], parts.primary.host, parts.redis_host

    def part(*others: Host) -> None:
        network.part(host, *others)
        # So much of it as users can meet.
        users.until_left_out("rosetta-b")

    met = loss.of("between a host and the primary", lambda: part(primary), lambda: network.join(host, primary))
    assert met.stale_s < 1
    loss.of(
        "between a host and both the primary and Redis",
        lambda: part(primary, redis),
        lambda: network.join(host, primary, redis),
    )


def test_redis_may_go(loss: Loss) -> None:
    """Every page is there, and right."""
    parts, network = loss.parts, loss.parts.network
    for met in (
        loss.of("Redis is killed", parts.redis.kill, parts.start_redis),
        loss.of("Redis' cable", lambda: network.unplug(parts.redis_host), lambda: network.plug(parts.redis_host)),
    ):
        assert met.stale_s < 1
        assert met.slowest_s < 5


def test_balancer_is_the_one_part_that_nothing_replaces(loss: Loss) -> None:
    """Until it is back nobody is answered."""
    met = loss.of("the balancer is killed", loss.parts.kill_balancer, loss.parts.start_balancer, lost=float("inf"))
    assert met.lost
    assert met.healed_s < 10


def test_standby_takes_over(loss: Loss) -> None:
    """While there is no primary, neither host is ready, and both serve what they know."""
    parts, users = loss.parts, loss.users
    loss.of("the standby is killed", parts.standby.kill, parts.standby.start)

    def kill_primary() -> None:
        parts.primary.kill()
        users.until_read(lambda read: read.is_last_known and "anyway" in read.host)

    with users.without_writes():
        with connect(parts.primary.dsn()) as primary, connect(parts.standby.dsn()) as standby:
            until_caught_up(primary, standby)
        met = loss.of("the primary is killed, and the standby promoted", kill_primary, parts.promote)
    assert met.last_known
    # Nothing was written meanwhile. From now on the hosts have to hear the new primary.
    began, commits = monotonic(), users.commits
    users.go_on()
    met = users.since(began)
    assert users.commits > commits
    assert (met.lost, met.last_known) == (0, 0)
    assert met.stale_s < 1
    parts.start_new_standby()
