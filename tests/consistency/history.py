"""What was written and what was read, and the verdict.

A register is a value on a page that one writer alone counts up. A write of `number` has been delivered when every
process has received a notification that was sent after it: those come in the order of their commits, and a process that
missed some while it did not listen has evicted everything before it hears the next. From then on no read may show less.
"""

import bisect
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path

# (source id, what is counted up on its page)
Register = tuple[int, str]


@dataclass(slots=True)
class Write:
    """`began` and `committed` are around its transaction, `delivered` is when the last process knew (epoch seconds).

    `mark` is what its transaction notified besides, to be recognised by.
    """

    registers: list[Register]
    number: int
    began: float
    committed: float
    mark: int
    delivered: float | None = None


@dataclass(slots=True)
class Read:
    """What a page showed; `started` and `ended` are epoch seconds."""

    process: int
    source: int
    started: float
    ended: float
    saw: dict[str, int]
    cache_status: str


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
    """The outcome. `staleness_ms`: per write, from its commit to the start of the last read that does not show it."""

    reads: int
    writes: int
    violations: list[Violation]
    staleness_ms: list[float]
    view_agrees: bool = True
    undelivered: int = 0

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


@dataclass(slots=True)
class History:
    """The record of one run."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)

    def deliver(self, evicted: list[dict[int, float]]) -> None:
        """Sets `delivered` of every write; `evicted` has, per process, the marks that it carried out and when."""
        in_order = sorted(self.writes, key=lambda write: write.began)
        begins = [write.began for write in in_order]
        # For each write, when each process first carried out the mark of this write or of a later one.
        earliest = [[inf] * len(evicted)]
        for write in reversed(in_order):
            earliest.append(
                [min(held, marks.get(write.mark, inf)) for held, marks in zip(earliest[-1], evicted, strict=True)]
            )
        earliest.reverse()
        for write in self.writes:
            received = earliest[bisect.bisect_left(begins, write.committed)]
            own = [marks.get(write.mark, inf) for marks in evicted]
            known = max(map(min, received, own))
            write.delivered = known if known < inf else None

    def judge(self) -> Verdict:
        """Every read against every promise."""
        violations = [*self._older_than_delivered(), *self._backwards()]
        return Verdict(
            reads=len(self.reads),
            writes=len(self.writes),
            violations=violations,
            staleness_ms=self._staleness(),
            undelivered=sum(write.delivered is None for write in self.writes),
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
        for write in self.writes:
            for register in write.registers:
                by_register[register].append(write)
        return by_register

    def _older_than_delivered(self) -> list[Violation]:
        found = []
        delivered: dict[Register, tuple[list[float], list[int]]] = {}
        for register, writes in self._by_register().items():
            times, numbers, highest = [], [], 0
            for write in sorted((w for w in writes if w.delivered is not None), key=lambda w: w.delivered or 0.0):
                highest = max(highest, write.number)
                times.append(write.delivered or 0.0)
                numbers.append(highest)
            delivered[register] = times, numbers
        for read in self.reads:
            for name, saw in read.saw.items():
                times, numbers = delivered.get((read.source, name), ([], []))
                place = bisect.bisect_left(times, read.started)
                if place and saw < numbers[place - 1]:
                    found.append(Violation("older than delivered", (read.source, name), saw, numbers[place - 1], read))
        return found

    def _backwards(self) -> list[Violation]:
        found = []
        shown: dict[tuple[int, Register], list[Read]] = defaultdict(list)
        for read in self.reads:
            for name in read.saw:
                shown[read.process, (read.source, name)].append(read)
        for (_, register), reads in shown.items():
            # The highest number among the reads that had ended when the next one started.
            by_end = sorted(reads, key=lambda read: read.ended)
            place, highest = 0, 0
            for read in sorted(reads, key=lambda read: read.started):
                while by_end[place].ended < read.started:
                    highest = max(highest, by_end[place].saw[register[1]])
                    place += 1
                if read.saw[register[1]] < highest:
                    found.append(Violation("backwards", register, read.saw[register[1]], highest, read))
        return found

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
