"""Guards of the read path, each taken out."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`apply` takes the guard out. `caught_by`: the simulation, or the test that fails without it."""

    apply: Callable[[], None]
    caught_by: str = "simulation"


MUTANTS: dict[str, Mutant] = {}
