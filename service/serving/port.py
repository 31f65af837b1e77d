"""The port that is listened on."""

import socket

from service.errors import StartError


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, which does not listen yet. StartError if the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StartError(f"ROSETTA_PORT: cannot listen on {host}:{port}: {error.strerror}") from None
    return bound


def url(bound: socket.socket) -> str:
    """Where a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
