"""Amounts and times as a person reads them."""

_SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB")
_TIMES = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def amount(number: float) -> str:
    """Formats bytes as PostgreSQL's pg_size_pretty rounds them."""
    size = float(number)
    for unit in _SIZES:
        if abs(size) < 1024 or unit == _SIZES[-1]:
            return f"{size:.0f} {unit}" if unit == "bytes" or abs(size) >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def moment(text: str) -> str:
    """A moment of a page (ISO 8601, UTC) without its fraction of a second: `2026-11-28 10:00:00 UTC`."""
    return f"{text[:19].replace('T', ' ')} UTC"


def duration(seconds: float) -> str:
    """Formats seconds in the largest unit of which there is one, cut off: `2 hours`, `59 s`."""
    for size, unit in _TIMES:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} s"
