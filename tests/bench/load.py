"""wrk, which makes the load: its percentiles are corrected for coordinated omission, by the interval it expected."""

import asyncio
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

_CONNECTIONS = 16
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class NoWrkError(Exception):
    """wrk is not installed."""

    def __init__(self) -> None:
        super().__init__("wrk is needed for this row: apt-get install wrk, or brew install wrk")


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second, and the 99th percentile in seconds."""

    rate: float
    p99_s: float


async def load(
    url: str,
    seconds: float,
    *,
    headers: dict[str, str] | None = None,
    pause_ms: int = 0,
    connections: int = _CONNECTIONS,
) -> Load:
    """Loads a URL from one thread. Each connection waits `pause_ms` before each request."""
    if shutil.which("wrk") is None:
        raise NoWrkError
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "pause.lua"
        script.write_text(f"function delay() return {pause_ms} end\n" if pause_ms else "")
        options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency", "-s", str(script)]
        for name, value in (headers or {}).items():
            options += ["-H", f"{name}: {value}"]
        child = await asyncio.create_subprocess_exec("wrk", *options, url, stdout=asyncio.subprocess.PIPE)
        output = (await child.communicate())[0].decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    assert rate is not None, output
    assert p99 is not None, output
    assert "Non-2xx" not in output or "If-None-Match" in (headers or {}), output
    assert "Socket errors" not in output, output
    return Load(float(rate[1]), float(p99[1]) * _UNITS[p99[2]])
