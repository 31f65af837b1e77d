"""What happens in a run, drawn from a seed."""

import random
from dataclasses import dataclass

SPAN_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a moment of the run; what the numbers mean is up to `kind`."""

    at: float
    kind: str
    numbers: tuple[float, float]


def script(seed: int) -> list[Step]:
    """What happens in the run of this seed, in order."""
    rng = random.Random(f"script {seed}")
    steps: list[Step] = []
    means = {
        "write": rng.choice([0.01, 0.1, 0.5, 8]),
        "star": rng.choice([0.1, 1, 8]),
        "move": rng.choice([0.5, 3, 20]),
        "sync": rng.choice([0.3, 2, 20]),
        "table": rng.choice([0.5, 5]),
        "del": rng.choice([0.1, 1]),
        "flush": rng.choice([1, 8]),
        "snapshot": rng.choice([0.2, 1]),
        "restart": rng.choice([0.7, 4, 50]),
        "address": rng.choice([2, 20]),
        "slot": rng.choice([0.3, 2]),
        "swallow": rng.choice([2, 20]),
        "reset": rng.choice([1, 10]),
        "silent": rng.choice([1, 5, 50]),
        "foreign": rng.choice([1, 5]),
        "cut": rng.choice([0.7, 5]),
        "deaf": rng.choice([5, 50]),
        "away": rng.choice([2, 20]),
        "functions": rng.choice([0.5, 5, 50]),
        "copy": rng.choice([2, 20]),
    }
    if rng.random() < 0.3:
        # Evictions would hide what only a DEL or the end of a session does.
        evicting = "write", "star", "move", "sync", "cut", "deaf", "away", "restart", "functions", "copy"
        means |= dict.fromkeys(evicting, 10)
    for kind, mean in means.items():
        at = rng.expovariate(1 / mean)
        while at < SPAN_S:
            steps.append(Step(at, kind, (rng.random(), rng.random())))
            at += rng.expovariate(1 / mean)
    return sorted(steps, key=lambda step: step.at)
