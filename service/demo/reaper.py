"""A process that outlives its parent just long enough to clean up after it.

The parent holds one end of a pipe and writes what it starts into it. Whatever ends the parent, SIGKILL included, closes
that end; then the reaper ends the process groups that it was given (politely first, since only a server itself can
remove its shared memory) and removes the folder.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

# A server that has much to write takes its time on a busy machine.
_PATIENCE_S = 15.0


class Reaper:
    """A temporary folder, and processes, that end with this process. A context manager."""

    def __init__(self, keep: Path | None = None) -> None:
        self._keep = keep
        self._pipe: IO[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self.folder = Path()

    def __enter__(self) -> Self:
        if self._keep is None:
            self.folder = Path(tempfile.mkdtemp(prefix="rosetta-"))
            # Servers may run as another user, who must be able to reach their folders in it.
            self.folder.chmod(0o711)
        else:
            self._keep.mkdir(parents=True, exist_ok=True)
            self.folder = self._keep.resolve()
        remove = "" if self._keep else str(self.folder)
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, remove],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd="/",
        )
        self._pipe = self._process.stdin
        return self

    def watch(self, pid: int) -> None:
        """Ends this process group with the parent."""
        assert self._pipe is not None
        self._pipe.write(f"{pid}\n")
        self._pipe.flush()

    def release(self, pid: int) -> None:
        """A process has ended: another one that gets its pid must not be killed."""
        assert self._pipe is not None
        self._pipe.write(f"-{pid}\n")
        self._pipe.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pipe is not None
        assert self._process is not None
        self._pipe.close()
        # Without a timeout: the reaper has its own, and removing ten thousand files may take half a minute.
        self._process.wait()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _reap(folder: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    alive: set[int] = set()
    for line in sys.stdin:
        pid = int(line)
        if pid > 0:
            alive.add(pid)
        else:
            alive.discard(-pid)
    for number in (signal.SIGINT, signal.SIGKILL):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # A stopped process ends only once it is continued.
                os.killpg(pid, number)
                os.killpg(pid, signal.SIGCONT)
        deadline = time.monotonic() + _PATIENCE_S
        while any(map(_is_alive, alive)) and time.monotonic() < deadline:
            time.sleep(0.02)
    if folder:
        # The servers may still be writing while they die.
        for _ in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break


if __name__ == "__main__":
    _reap(sys.argv[1])
