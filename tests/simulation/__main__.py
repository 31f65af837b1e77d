"""`bin/soak --simulate --minutes N`: worlds of new seeds until the time is over, or one seed again."""

import argparse
import os
import random
import sys
import time
from collections import Counter

from tests.simulation import mutants
from tests.simulation.running import prepare, run, shrink


def main() -> int:
    """0 if every promise was kept in every world."""
    parser = argparse.ArgumentParser(prog="bin/soak --simulate", description="Judge every read of simulated worlds.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--reads", type=int, default=0, help="at least so many judged reads, however long it takes")
    parser.add_argument("--seed", type=int, help="the first seed (default: a new one)")
    parser.add_argument("--worlds", type=int, help="how many; 1 with --seed replays it")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="without this guard")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for the fewest steps")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set is part of what a seed decides.
        os.execve(  # noqa: S606  # this program again
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    prepare()
    if options.mutant:
        mutants.MUTANTS[options.mutant].apply()
    first = random.randrange(10**9) if options.seed is None else options.seed
    print(f"simulation: --seed {first}", flush=True)
    began, reads, worlds, seen = time.monotonic(), 0, 0, Counter[str]()
    while True:
        took = time.monotonic() - began
        if options.worlds is not None and worlds >= options.worlds:
            break
        if options.worlds is None and took > 60 * options.minutes and reads >= options.reads:
            break
        seed = first + worlds
        verdict = run(seed)
        worlds += 1
        reads += verdict.reads
        seen += verdict.seen
        if verdict.found:
            print(f"seed {seed}, after {reads:,} reads:", *verdict.found, sep="\n  ")
            if options.no_shrink:
                return 1
            steps = shrink(seed)
            found = run(seed, steps).found
            print(f"with {len(steps)} steps:", *steps, *found, sep="\n  ", flush=True)
            print(f"again: bin/soak --simulate --seed {seed} --worlds 1")
            return 1
    took = time.monotonic() - began
    print(f"{reads:,} reads judged in {worlds:,} worlds, {reads / took:,.0f} a second; nothing found")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(seen.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
