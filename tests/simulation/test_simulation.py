"""Half a minute of simulated worlds with a new seed each time, and whether it would notice."""

import os
import re
import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS, SIMULATION

pytestmark = pytest.mark.timeout(300)


def simulate(*options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of sets is part of what a seed decides."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *options],
        env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, timeout=290, check=False,
    )  # fmt: skip


def test_no_read_of_a_simulated_world_is_too_old(capsys: pytest.CaptureFixture[str]) -> None:
    """What fails is printed with its seed and its fewest steps."""
    done = simulate("--minutes", "0.5")
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_decides_everything() -> None:
    """Or a failure could not be looked at again."""
    first, second = (simulate("--seed", "1", "--worlds", "1").stdout.splitlines() for _ in range(2))
    assert "nothing found" in first[1]
    assert first[1].split(", ")[0] == second[1].split(", ")[0]
    assert first[2:] == second[2:]


# From a seed at which it is noticed soon.
@pytest.mark.parametrize(
    ("name", "seed"),
    [("store without a lease", "24"), ("page without its seal", "1"), ("session without evict_all", "7")],
)
def test_a_guard_taken_out_is_noticed(name: str, seed: str) -> None:
    """`mutants` has the whole list; --mutant NAME tries one."""
    assert MUTANTS[name].caught_by == SIMULATION
    done = simulate("--seed", seed, "--worlds", "150", "--mutant", name, "--no-shrink")
    assert done.returncode == 1, done.stdout + done.stderr


def test_what_fails_shrinks_to_a_few_steps() -> None:
    """So that a person can follow it."""
    done = simulate("--seed", "7", "--worlds", "150", "--mutant", "session without evict_all")
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.search(r"with (\d+) steps", done.stdout)
    assert found is not None
    assert int(found[1]) <= 5
