"""The sources that did not answer when this process asked them last."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from service.sources.address import SourceAddress
from service.telemetry.events import Observer, SourceDown, SourceUp

_FORGET_S = 300.0


_Key = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float
    why: str
    since: datetime
    connection_key: _Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Outcome:
    attempt: int
    at: float
    connection_key: _Key = field(repr=False)


class Failures:
    """By source. One that failed is left alone for `rest_s` seconds."""

    def __init__(self, observer: Observer, rest_s: float) -> None:
        self._observe = observer
        self._rest = rest_s
        self._of: dict[int, _Failure] = {}
        self._attempts = 0
        # By source, the last one that counted.
        self._outcomes: dict[int, _Outcome] = {}

    def begin(self) -> int:
        """The number of an attempt that begins now."""
        self._attempts += 1
        return self._attempts

    def failed(self, address: SourceAddress, attempt: int, why: str) -> None:
        """Takes note that an attempt has failed."""
        if not self._counts(address, attempt):
            return
        before = self._of.get(address.id)
        since = before.since if before else datetime.now(UTC)
        self._of[address.id] = _Failure(monotonic() + self._rest, why, since, address.connection_key)
        if before is None:
            self._observe(SourceDown(source_id=address.id, reason=why))

    def answered(self, address: SourceAddress, attempt: int) -> None:
        """Takes note that the source has answered."""
        if self._counts(address, attempt) and self._of.pop(address.id, None) is not None:
            self._observe(SourceUp(source_id=address.id))

    def resting(self, address: SourceAddress) -> str | None:
        """Why page loads skip this source, or None. A changed address is not skipped."""
        failure = self._of.get(address.id)
        if failure is None or failure.until <= monotonic() or failure.connection_key != address.connection_key:
            return None
        return failure.why

    def since(self, source_id: int) -> datetime | None:
        """When this process first found that the source does not answer; None if it answered last time."""
        failure = self._of.get(source_id)
        return None if failure is None else failure.since

    @property
    def reasons(self) -> dict[int, str]:
        """Why each of them did not answer."""
        return {source_id: failure.why for source_id, failure in self._of.items()}

    def sweep(self) -> None:
        """Forgets old failures: the source may be gone, or another process may have reached it since."""
        long_ago = monotonic() - _FORGET_S
        for source_id, failure in list(self._of.items()):
            if failure.until < long_ago:
                del self._of[source_id]
        for source_id, outcome in list(self._outcomes.items()):
            if outcome.at < long_ago:
                del self._outcomes[source_id]

    def _counts(self, address: SourceAddress, attempt: int) -> bool:
        # An attempt at an address that was wrong may take long to fail: by then, the right one has answered. At one and
        # the same address the last outcome counts, whichever attempt began first.
        last = self._outcomes.get(address.id)
        if last is not None and attempt < last.attempt and address.connection_key != last.connection_key:
            return False
        self._outcomes[address.id] = _Outcome(attempt, monotonic(), address.connection_key)
        return True
