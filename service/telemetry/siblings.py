"""The workers of one `rosetta serve`, as each of them sees the others: whichever is asked tells of all.

Each worker answers the others on a Unix socket of its own, in a folder that only their user can open.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from service.errors import StartError

# A question is one word; an answer has a line for each figure.
_LONGEST_QUESTION = 32
_LONGEST_ANSWER = 16 * 2**20
_PATIENCE_S = 2.0
_CHUNK = 2**16


class Siblings:
    """The other workers of `count`. `number` is this one's own, from 1; sockets are in `folder`, named by number."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self._folder = folder
        self.number = number
        self._others = [other for other in range(1, count + 1) if other != number]
        self._answers: Mapping[str, Callable[[], Awaitable[bytes]]] = {}
        self._server: asyncio.Server | None = None

    async def open(self, answers: Mapping[str, Callable[[], Awaitable[bytes]]]) -> None:
        """From now on the others get what `answers` return to their questions. StartError if there is no such place."""
        self._answers = answers
        path, coming = self._folder / str(self.number), self._folder / f"{self.number}.coming"
        try:
            self._server = await asyncio.start_unix_server(self._answer, coming)
            # The one that this worker replaces answers until then; nobody finds a socket missing in between.
            coming.replace(path)
        except OSError as error:
            raise StartError(f"ROSETTA_WORKERS: no socket in {self._folder}: {error}; set TMPDIR") from None

    async def ask(self, question: str) -> dict[int, bytes | None]:
        """What each other worker answers, by its number; None from one that does not, or not within two seconds."""
        answers = await asyncio.gather(*(self._ask(number, question) for number in self._others))
        return dict(zip(self._others, answers, strict=True))

    async def close(self) -> None:
        """Answers no more. The socket's file stays: it is the successor's, or says that a worker is missing."""
        if self._server is not None:
            self._server.close()

    async def _ask(self, number: int, question: str) -> bytes | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_unix_connection(self._folder / str(number))
                with contextlib.closing(writer):
                    writer.write(question.encode() + b"\n")
                    answer = bytearray()
                    while chunk := await reader.read(_CHUNK):
                        answer += chunk
                        if len(answer) > _LONGEST_ANSWER:
                            return None
        except (OSError, TimeoutError):
            return None
        return bytes(answer) or None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                question = (await reader.read(_LONGEST_QUESTION)).decode(errors="replace").strip()
                if (answer := self._answers.get(question)) is not None:
                    writer.write(await answer())
                    await writer.drain()
