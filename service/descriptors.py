"""File descriptors: each connection and each live stream takes one, and a process has a limited number.

https://www.man7.org/linux/man-pages/man2/getrlimit.2.html
"""

import errno
import os
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

# More than any deployment needs, and no more work for programs that close every possible one.
_MOST = 65_536
_SHARE = 0.9
_SHORT = (errno.EMFILE, errno.ENFILE)


def raise_limit() -> None:
    """Raises this process's own limit as far as the system lets it."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            # Some systems allow less than the hard limit says.
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many this process may have."""
    if sys.platform == "win32":
        return _MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft


def is_nearly_exhausted() -> bool:
    """Whether nine tenths are in use; false if the system does not say."""
    try:
        return len(os.listdir("/dev/fd")) > _SHARE * limit()
    except OSError as error:
        return error.errno in _SHORT


def is_shortage(error: BaseException) -> bool:
    """Whether something failed because no descriptor is left."""
    if isinstance(error, OSError) and error.errno in _SHORT:
        return True
    # Libraries do not always say why.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as now:
        return now.errno in _SHORT
    return False
