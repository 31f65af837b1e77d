"""The wire format of Redis: https://redis.io/docs/latest/develop/reference/protocol-spec/."""

from typing import Any


class CommandError(Exception):
    """An error reply."""


# The reply to HELLO: all of its map that is looked at.
HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"


def push(*words: Any) -> bytes:
    """What nobody asked, in RESP3."""
    return b">%d\r\n%s" % (len(words), b"".join(b"_\r\n" if word is None else encode(word) for word in words))


def encode(value: Any) -> bytes:
    """A reply in RESP2; those that a session's own connection gets are the same in RESP3."""
    match value:
        case None:
            return b"$-1\r\n"
        case CommandError():
            return f"-{value}\r\n".encode()
        case bool() | int() | float():
            return f":{int(value)}\r\n".encode()
        case str():
            return f"+{value}\r\n".encode()
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case _:
            return b"*%d\r\n%s" % (len(value), b"".join(map(encode, value)))


def parse(data: bytes) -> tuple[list[list[bytes]], bytes]:
    """The complete commands in the data, and what is left."""
    commands: list[list[bytes]] = []
    start = 0
    while (end := data.find(b"\r\n", start)) >= 0:
        place, words = end + 2, []
        for _ in range(int(data[start + 1 : end])):
            end = data.find(b"\r\n", place)
            if end < 0:
                return commands, data[start:]
            size = int(data[place + 1 : end])
            place = end + 2 + size + 2
            if place > len(data):
                return commands, data[start:]
            words.append(data[end + 2 : place - 2])
        commands.append(words)
        start = place
    return commands, data[start:]
