"""Whether others used the machine while a row was measured: their processor time, and how long fixed work took.

On Linux `/proc/stat` has the time of everybody, and of what a hypervisor gave to others ("stolen"); the bench and its
descendants know their own. Elsewhere the fixed work alone can tell.
See https://www.kernel.org/doc/html/latest/filesystems/proc.html.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

_PROC = Path("/proc")
# More than the kernel's own threads use while the bench writes to the disk.
_MUCH = 0.1
_SLOW = 1.2
# Ticks of all processors, of 10 ms: less tells nothing.
_FEW = 100
# Until what was asked before has ended; then long enough to see somebody else.
_SETTLE_S, _REST_S = 0.1, 0.2
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Ticks:
    """Processor time since the start of the machine. `used` is that of all processes, `own` that of the bench's."""

    total: int
    used: int
    stolen: int
    own: int

    def minus(self, before: "Ticks") -> "Ticks":
        """What has passed since then."""
        return Ticks(
            self.total - before.total, self.used - before.used, self.stolen - before.stolen, self.own - before.own
        )

    def plus(self, more: "Ticks") -> "Ticks":
        """Both times."""
        return Ticks(self.total + more.total, self.used + more.used, self.stolen + more.stolen, self.own + more.own)

    @property
    def others(self) -> float | None:
        """The share of all that went to others, stolen time included; None if no time has passed."""
        if self.total <= 0:
            return None
        return min((max(self.used - self.own, 0) + self.stolen) / self.total, 1.0)


@dataclass(frozen=True, slots=True)
class Others:
    """`share` of the processor time went to others (None: unknown); fixed work took `slowdown` times its least."""

    share: float | None
    slowdown: float

    @property
    def are_busy(self) -> bool:
        """Whether they may have changed a figure."""
        return (self.share is not None and self.share > _MUCH) or self.slowdown > _SLOW

    def json(self) -> dict[str, Any]:
        """As `--json` writes it."""
        return {name: None if value is None else round(value, 3) for name, value in asdict(self).items()}


class Watch:
    """Looks at the machine from row to row."""

    def __init__(self, read: Callable[[], Ticks | None] | None = None, work: Callable[[], float] | None = None) -> None:
        self._read = read or ticks
        self._work = work or fixed_work
        self._worked = [self._work()]
        self._last = self._read()
        self._rested = self._seen = Ticks(0, 0, 0, 0)
        self._laps: list[Others] = []

    async def rest(self) -> None:
        """Looks while the bench does nothing.

        If somebody else's server is measured, its work for the bench is not that of others. Then only rests count.
        """
        await asyncio.sleep(_SETTLE_S)
        before = self._read()
        await asyncio.sleep(_REST_S)
        if before and (after := self._read()):
            self._rested = self._rested.plus(after.minus(before))

    def lap(self) -> Others:
        """What others did since the last call, preparations included.

        A row that was measured together with the one before comes at once after it, and has the same others.
        """
        now = self._read()
        passed = now.minus(self._last) if now and self._last else None
        if passed is not None and passed.total < _FEW and self._laps:
            self._laps.append(self._laps[-1])
            return self._laps[-1]
        if self._rested.total:
            passed, self._rested = self._rested, Ticks(0, 0, 0, 0)
        self._last = now
        if passed is not None:
            self._seen = self._seen.plus(passed)
        self._worked.append(self._work())
        found = Others(passed.others if passed else None, self._worked[-1] / min(self._worked))
        self._laps.append(found)
        return found

    def summary(self) -> str:
        """A sentence about the whole run."""
        busy = sum(others.are_busy for others in self._laps)
        said = []
        if (share := self._seen.others) is not None:
            stolen = self._seen.stolen / self._seen.total
            said.append(f"{share:.0%} of the processor time went to others ({stolen:.0%} was stolen)")
        said.append(f"the same work took up to {max(self._worked) / min(self._worked):.2f} times its least")
        if busy:
            said.append(f"so it was during {busy} of {len(self._laps)} rows")
        return f"the machine was {'busy' if busy else 'quiet'}: {'; '.join(said)}"


def fixed_work() -> float:
    """Seconds of always the same work, as Python does it."""
    took = []
    for _ in range(_ROUNDS):
        started = perf_counter()
        number = 0
        for step in range(100_000):
            number = (number * 31 + step) % 1_000_003
        took.append(perf_counter() - started)
    return median(took)


def ticks() -> Ticks | None:
    """Now; None if the machine does not say."""
    try:
        # If other users' processes are hidden, the servers of the bench may be, and would pass for somebody else's.
        (_PROC / "1" / "stat").read_bytes()
        total, used, stolen = of_machine((_PROC / "stat").read_text())
    except (OSError, ValueError):
        return None
    processes = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                processes[int(folder.name)] = (folder / "stat").read_text()
    return Ticks(total, used, stolen, of_tree(processes, os.getpid()))


def of_machine(stat: str) -> tuple[int, int, int]:
    """Everything, what processes used, what was stolen.

    Interrupts are nobody's: those of the network are for the most part the bench's own.
    """
    name, *fields = stat.splitlines()[0].split()
    if name != "cpu":
        raise ValueError(name)
    user, nice, system, idle, waiting, irq, soft_irq, stolen = map(int, fields[:8])
    return user + nice + system + idle + waiting + irq + soft_irq + stolen, user + nice + system, stolen


def of_tree(processes: Mapping[int, str], root: int) -> int:
    """What a process and its descendants used, by each one's `stat`, which counts children that have ended as well."""
    parents, used = {}, {}
    for pid, stat in processes.items():
        # The name, in parentheses, may contain anything.
        fields = stat.rpartition(")")[2].split()
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15]))

    def is_ours(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    return sum(time for pid, time in used.items() if is_ours(pid))
