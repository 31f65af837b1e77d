"""Log lines of several processes on one stream."""

import os
import socket
import subprocess
import sys

import pytest

_LOG = """
import logging, structlog
from service.telemetry.log_lines import configure_logging
configure_logging({log_format!r}, "info", [], worker=1)
structlog.get_logger().info("one")
logging.getLogger("library").warning("two")
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_line_and_its_end_are_one_write(log_format: str) -> None:
    """Also without a buffer, as in most images: else a line of another worker would come between the two."""
    # Each write is a message of its own.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-c", _LOG.format(log_format=log_format)],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stderr=theirs.fileno(),
            check=True,
            timeout=60,
        )
        theirs.close()
        writes = list(iter(lambda: ours.recv(2**16), b""))
    assert [write.count(b"\n") for write in writes] == [1, 1]
    assert all(write.endswith(b"\n") for write in writes)
    assert b"one" in writes[0]
    assert b"two" in writes[1]
