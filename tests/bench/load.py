"""wrk, which makes the load: its percentiles are corrected for coordinated omission, by the interval it expected."""

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# As wrk asks, which sends no Accept-Encoding.
PLAIN = {"Accept-Encoding": "identity"}
_CONNECTIONS = 16
_TIMEOUT_S = 10
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class LoadError(Exception):
    """The load could not be made; the message is one line, and repeats no header."""


class NoWrkError(LoadError):
    """wrk is not installed."""

    def __init__(self) -> None:
        super().__init__("wrk is needed for this row: apt-get install wrk, or brew install wrk")


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second, and percentiles in seconds."""

    rate: float
    p50_s: float
    p99_s: float


async def load(
    url: str,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
    pause_ms: int = 0,
    connections: int = _CONNECTIONS,
    core: int | None = None,
) -> Load:
    """Loads a URL from one thread, on that `core` alone. Each connection waits `pause_ms` before each request."""
    if shutil.which("wrk") is None:
        raise NoWrkError
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "load.lua"
        file.write_text(script(headers or {}, pause_ms))
        options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", f"--timeout={_TIMEOUT_S}s", "--latency"]
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        child = await asyncio.create_subprocess_exec(
            *pinned, "wrk", *options, "-s", str(file), url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        output = (await child.communicate())[0].decode()
    return parsed(output, is_conditional="If-None-Match" in (headers or {}))


def script(headers: Mapping[str, str], pause_ms: int) -> str:
    """What wrk runs. Headers are in this private file, since everybody can read the arguments of a process."""
    # A string of JSON in ASCII, without control characters, is one of Lua.
    lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    if pause_ms:
        lines.append(f"function delay() return {pause_ms} end")
    return "".join(f"{line}\n" for line in lines)


def parsed(output: str, *, is_conditional: bool = False) -> Load:
    """What wrk has printed."""
    if "Non-2xx" in output and not is_conditional:
        raise LoadError("it does not always answer 2xx under load")
    if found := re.search(r"Socket errors: (.+)", output):
        raise LoadError(f"connections fail under load: {found[1]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if rate is None or float(rate[1]) <= 0:
        raise LoadError("it answers no request under load")
    shares = {
        share: float(number) * _UNITS[unit]
        for share, number, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s|m)\b", output)
    }
    return Load(float(rate[1]), shares["50"], shares["99"])
