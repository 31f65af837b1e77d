"""Log lines that strangers can cause: a limited number of each kind."""

from time import monotonic

# A line says who and what; ten a minute show an attack as well as thousands do.
_MOST = 10
_PER_S = 60.0


class RareLines:
    """Lets `most` lines of each kind through in `per_s` seconds."""

    def __init__(self, most: int = _MOST, per_s: float = _PER_S) -> None:
        self._most = most
        self._per_s = per_s
        # By kind: when its period began, how many lines it has asked for since. The kinds are ours, and few.
        self._periods: dict[str, tuple[float, int]] = {}

    def next(self, kind: str) -> int | None:
        """None: leave this line out. Otherwise how many were left out since the last one."""
        began, asked = self._periods.get(kind, (monotonic(), 0))
        left_out = 0
        if began + self._per_s <= monotonic():
            left_out, began, asked = max(asked - self._most, 0), monotonic(), 0
        self._periods[kind] = began, asked + 1
        return left_out if asked < self._most else None
