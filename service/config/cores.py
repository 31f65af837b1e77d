"""How many cores this process may use."""

import os
from math import ceil
from pathlib import Path

# "max 100000", or "150000 100000" (microseconds): https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable() -> int:
    """Those that its affinity allows, or fewer if a container has a quota of processor time: at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(allowed, ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No container, or none with a quota.
        return allowed
