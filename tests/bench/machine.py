"""Where and when a run was made: what a reader must know to compare its figures with others."""

import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import redis

import service
from tests import PROJECT


def machine(postgres_dsn: str, redis_url: str) -> dict[str, str]:
    """By name, in the order in which a person reads it."""
    with psycopg.connect(postgres_dsn) as connection:
        postgres = connection.info.parameter_status("server_version") or "unknown"
    with redis.Redis.from_url(redis_url) as client:
        info = client.info("server")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": _revision(),
        "cores": f"{os.cpu_count()}",
        "processor": _processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": postgres.split()[0],
        "Valkey": str(info.get("valkey_version") or info["redis_version"]),
    }


def _revision() -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        described = subprocess.run(
            ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return f"{service.__version__} ({described.stdout.strip()})"
    return service.__version__


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
