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


class ReaperError(Exception):
    """The folder cannot be used; the message is one line for a person."""


class Reaper:
    """A temporary folder, and processes, that end with this process. A context manager."""

    def __init__(self, keep: Path | None = None) -> None:
        self._keep = keep
        self._pipe: IO[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = _temporary() if self._keep is None else _kept(self._keep)
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


def _temporary() -> Path:
    # Servers of root run as another user, who must be able to reach their folders in it. A person's own TMPDIR may be
    # private.
    for parent in (None, "/tmp", "/var/tmp"):  # noqa: S108  # mkdtemp makes a folder of its own there
        folder = Path(tempfile.mkdtemp(prefix="rosetta-", dir=parent)).resolve()
        folder.chmod(0o711)
        if os.geteuid() or is_reachable(folder):
            return folder
        folder.rmdir()
    raise ReaperError("no folder for temporary files lets other users in: set TMPDIR to one that does")


def _kept(folder: Path) -> Path:
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReaperError(f"cannot make the folder {folder}: {error.strerror}") from None
    folder = folder.resolve()
    if os.geteuid() == 0:
        if is_new:
            folder.chmod(0o711)
        if not is_reachable(folder):
            raise ReaperError(f"started by root, the servers run as nobody, who may not enter {folder} (chmod o+x)")
    return folder


def is_reachable(folder: Path) -> bool:
    """Whether any user may enter the folder. A link may lead into a private one."""
    folder = folder.resolve()
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


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
