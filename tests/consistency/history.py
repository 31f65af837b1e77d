"""What was written and what was read, and the verdict.

A register is a value on a page that one writer alone counts up. A process has been told of a write when its listener
has received a notification that was sent after it: those come in the order of their commits, and a process that missed
some while it did not listen has evicted everything before it receives the next. From then on no read of this process
may show less, even while the eviction is on its way to Redis.

A thing that moves between two places carries no number. Its register counts the moves: after an even one the thing is
in place 0, after an odd one in place 1. A page shows only which of the two it is. So a read counts as having seen the
last move to that place that had begun when the read ended: it cannot have seen a later one. If even that is older than
what the process had been told of, the read was stale. Such a register says nothing about reads that go backwards.
"""

import bisect
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import inf, isinf
from pathlib import Path

# (source id, what is counted up on its page)
Register = tuple[int, str]

# The mark of what the database holds before the first write: every process was told of it.
AT_START = 0


@dataclass(slots=True)
class Write:
    """`began` and `committed` are around its transaction, `told` is when each process was told (epoch seconds).

    `mark` is what its transaction notified besides, to be recognised by.
    """

    registers: list[Register]
    number: int
    began: float
    mark: int
    committed: float = inf
    told: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Read:
    """What a page showed; `started` and `ended` are epoch seconds. `places`: where it showed the things that move.

    `found`: where the page was found, and what it was computed from.
    """

    process: int
    source: int
    started: float
    ended: float
    saw: dict[str, int]
    places: dict[str, int]
    found: str

    @property
    def was_cached(self) -> bool:
        """Whether others could get the same page afterwards."""
        return "hit" in self.found or "stored" in self.found


@dataclass(slots=True)
class Violation:
    """A read that showed less than it should."""

    rule: str
    register: Register
    saw: int
    expected: int
    read: Read


@dataclass(slots=True)
class Verdict:
    """The outcome. `staleness_ms`: per write, from its commit to the start of the last read that does not show it.

    `untold`: writes that some process was not told of, nor of a later one.
    """

    reads: int
    writes: int
    violations: list[Violation]
    staleness_ms: list[float]
    view_agrees: bool = True
    untold: int = 0

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations and self.view_agrees

    def describe(self) -> str:
        """The figures, in a few lines."""
        staleness = sorted(self.staleness_ms)
        seen = {
            name: staleness[min(int(len(staleness) * share), len(staleness) - 1)] if staleness else 0.0
            for name, share in (("median", 0.5), ("p99", 0.99), ("max", 1.0))
        }
        stale = len({id(violation.read) for violation in self.violations})
        nines = "all" if not stale else f"{100 * (1 - stale / max(self.reads, 1)):.6f} %"
        return (
            f"{self.reads} reads, {self.writes} writes; older than they may be: {stale} reads ({nines} consistent)\n"
            f"from a commit to the last read without it: "
            + ", ".join(f"{name} {value:.2f} ms" for name, value in seen.items())
            + f"\nview and tables {'agree' if self.view_agrees else 'DO NOT AGREE'} at the end"
        )


class History:
    """The record of one run."""

    def __init__(self) -> None:
        self.reads: list[Read] = []
        self._writes: dict[int, Write] = {}

    @property
    def writes(self) -> int:
        """How many there are, those under way included."""
        return len(self._writes)

    def begin(self, write: Write) -> None:
        """Takes note of a write before it is made: from then on a read may show it."""
        self._writes[write.mark] = write

    def withdraw(self, write: Write) -> None:
        """The write was rolled back."""
        del self._writes[write.mark]

    def tell(self, told: list[dict[int, float]]) -> None:
        """Sets `told` of every write; the argument has, per process, the marks that it received and when."""
        in_order = sorted(self._writes.values(), key=lambda write: write.began)
        begins = [write.began for write in in_order]
        # For each write, when each process first received the mark of this write or of a later one.
        earliest = [[inf] * len(told)]
        for write in reversed(in_order):
            earliest.append(
                [min(held, marks.get(write.mark, inf)) for held, marks in zip(earliest[-1], told, strict=True)]
            )
        earliest.reverse()
        for write in in_order:
            later = earliest[bisect.bisect_left(begins, write.committed)]
            own = [marks.get(write.mark, inf) for marks in told]
            write.told = [min(pair) for pair in zip(own, later, strict=True)]

    def judge(self) -> Verdict:
        """Every read against every promise."""
        return Verdict(
            reads=len(self.reads),
            writes=self.writes,
            violations=[*self._older_than_told(), *self._backwards()],
            staleness_ms=self._staleness(),
            untold=sum(isinf(max(write.told)) for write in self._writes.values()),
        )

    def save(self, path: Path, verdict: Verdict) -> None:
        """Writes the offending reads, each with the writes of its register around it, as JSON lines."""
        by_register = self._by_register()
        with path.open("w") as file:
            for violation in verdict.violations[:1000]:
                near = [
                    asdict(write)
                    for write in by_register[violation.register]
                    if violation.saw - 2 <= write.number <= violation.expected + 2
                ]
                file.write(json.dumps({**asdict(violation), "writes": near}) + "\n")

    def _by_register(self) -> dict[Register, list[Write]]:
        by_register: dict[Register, list[Write]] = defaultdict(list)
        for write in self._writes.values():
            for register in write.registers:
                by_register[register].append(write)
        return by_register

    def _older_than_told(self) -> Iterator[Violation]:
        by_register = self._by_register()
        expected = {register: _expected(writes) for register, writes in by_register.items()}
        for read in self.reads:
            seen = read.saw | {
                name: _at_best(by_register[read.source, name], place, read.ended) for name, place in read.places.items()
            }
            for name, saw in seen.items():
                if (read.source, name) in expected:
                    times, numbers = expected[read.source, name][read.process]
                    place = bisect.bisect_left(times, read.started)
                    if place and saw < numbers[place - 1]:
                        yield Violation("older than told", (read.source, name), saw, numbers[place - 1], read)

    def _backwards(self) -> Iterator[Violation]:
        """Reads that show less than a page that was cached before. A page that was not may be ahead of the caches."""
        shown: dict[tuple[int, Register], list[Read]] = defaultdict(list)
        for read in self.reads:
            for name in read.saw:
                shown[read.process, (read.source, name)].append(read)
        for (_, register), reads in shown.items():
            # The highest number among the reads that had ended when the next one started.
            by_end = sorted((read for read in reads if read.was_cached), key=lambda read: read.ended)
            place, highest = 0, 0
            for read in sorted(reads, key=lambda read: read.started):
                while place < len(by_end) and by_end[place].ended < read.started:
                    highest = max(highest, by_end[place].saw[register[1]])
                    place += 1
                if read.saw[register[1]] < highest:
                    yield Violation("backwards", register, read.saw[register[1]], highest, read)

    def _staleness(self) -> list[float]:
        last: dict[tuple[Register, int], float] = {}
        by_register = self._by_register()
        commits = {
            register: ([write.committed for write in writes], [write.number for write in writes])
            for register, writes in by_register.items()
        }
        for read in self.reads:
            for name, saw in read.saw.items():
                times, numbers = commits.get((read.source, name), ([], []))
                # Every write that this read should have shown at best, and did not.
                for place in range(bisect.bisect_left(times, read.started) - 1, -1, -1):
                    if numbers[place] <= saw:
                        break
                    key = (read.source, name), numbers[place]
                    last[key] = max(last.get(key, 0.0), read.started - times[place])
        return [
            1000 * last.get((register, number), 0.0) for register, (_, numbers) in commits.items() for number in numbers
        ]


def _expected(writes: list[Write]) -> list[tuple[list[float], list[int]]]:
    """For each process: moments, and the number that its reads show at least from then on."""
    found = []
    for process in range(len(writes[0].told)):
        times, numbers, highest = [], [], 0
        for write in sorted(writes, key=lambda write: write.told[process]):
            highest = max(highest, write.number)
            times.append(write.told[process])
            numbers.append(highest)
        found.append((times, numbers))
    return found


def _at_best(moves: list[Write], place: int, ended: float) -> int:
    """The last move to this place that had begun when the read ended; -1 if there was none, 0 if it began there."""
    for number in range(bisect.bisect_right(moves, ended, key=lambda move: move.began) - 1, -1, -1):
        if moves[number].number % 2 == place:
            return moves[number].number
    return 0 if place == 0 else -1
