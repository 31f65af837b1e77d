"""Writers that count up, readers that look, and operators of every kind, all at once for a while."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection
from time import monotonic

from tests.consistency import moves, operators, writers
from tests.consistency.content import SOURCES
from tests.consistency.history import History, Verdict
from tests.consistency.readers import read
from tests.consistency.rig import Rig
from tests.consistency.run import Run

_READERS = 8
_LONGEST_S = 60


class Workload:
    """One run. See `Run` for the seed. With `only_moves` few write: who moves things, and who changes what is below.

    It is longer than `seconds`, up to a minute, until all that `until_done` names has been done once.
    """

    def __init__(
        self,
        rig: Rig,
        seed: int,
        seconds: float,
        *,
        only_moves: bool = False,
        until_violated: bool = False,
        until_done: Collection[str] = (),
        say: Callable[[str], None] = lambda _: None,
        disturb: Callable[[random.Random], None] | None = None,
    ) -> None:
        self._rig = rig
        self._run = Run(rig, seed, disturb)
        self._seconds = seconds
        self._only_moves = only_moves
        self._until_violated = until_violated
        self._until_done = until_done
        self._say = say

    @property
    def history(self) -> History:
        """What was written and read."""
        return self._run.history

    @property
    def counts(self) -> Counter[str]:
        """How often each kind of thing was done."""
        return self._run.counts

    async def run(self) -> Verdict:
        """The verdict on everything that happened."""
        run = self._run
        run.last(max(self._seconds, _LONGEST_S) if self._until_done else self._seconds)
        tasks = [writers.take_turns(run, name, lane) for name, lane in moves.lanes()]
        if not self._only_moves:
            tasks += [
                *(writers.take_turns(run, name, lane) for name, lane in writers.lanes()),
                *(operators.refresh(run, n) for n in range(3)),
                operators.refresh_after_unseen_writes(run),
                operators.alter(run),
                operators.alter_values(run),
                operators.sync(run),
                operators.delete_keys(run),
                operators.disturb_redis(run),
            ]
        tasks += [operators.cut_listeners(run), *(self._read(n) for n in range(_READERS)), self._progress()]
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
        verdict = self._judge()
        verdict.view_agrees = self._rig.view_agrees()
        return verdict

    async def _read(self, reader: int) -> None:
        rng = self._run.sequence(f"reader {reader}")
        while self._run.seconds_left:
            process = rng.choice(self._rig.processes)
            source = rng.choice(moves.SOURCES if self._only_moves else SOURCES)
            headers = {"Cache-Control": "no-cache"} if rng.random() < 0.02 else {}
            await read(self._run, process, source, headers)

    async def _progress(self) -> None:
        least = monotonic() + self._seconds
        while left := self._run.seconds_left:
            self._say(f"{left:6.0f} s left, {len(self.history.reads)} reads, {self.history.writes} writes")
            if self._until_done and monotonic() >= least and self.counts.keys() >= set(self._until_done):
                self._run.last(0)
            if not self._until_violated:
                await asyncio.sleep(min(1 if self._until_done else 5, self._run.seconds_left))
                continue
            started = monotonic()
            if self._judge().violations:
                self._run.last(0)
            # The longer the history, the longer the judgement: it must not take the time of those who make it.
            await asyncio.sleep(min(max(1, 4 * (monotonic() - started)), self._run.seconds_left))

    def _judge(self) -> Verdict:
        self.history.tell([process.told for process in self._rig.processes])
        return self.history.judge()
