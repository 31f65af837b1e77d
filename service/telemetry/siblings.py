"""The workers of one `rosetta serve`, as each of them sees the others: whichever is asked tells of all.

Each worker answers the others on a Unix socket of its own, in a folder that only their user can open.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

# A question is one word; an answer has a line for each figure.
_LONGEST_QUESTION = 32
_LONGEST_ANSWER = 16 * 2**20
_PATIENCE_S = 2.0
_CHUNK = 2**16


class Siblings:
    """The other workers. `number` is this one's own, from 1; sockets are in `folder`, named by number."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self.number = number
        self._answers: Mapping[str, Callable[[], Awaitable[bytes]]] = {}
        self._server: asyncio.Server | None = None

    async def open(self, answers: Mapping[str, Callable[[], Awaitable[bytes]]]) -> None:
        """From now on the others get what `answers` return to their questions."""
        self._answers = answers
        path, coming = self._folder / str(self.number), self._folder / f"{self.number}.coming"
        self._server = await asyncio.start_unix_server(self._answer, coming)
        # The one that this worker replaces answers until then; nobody finds a socket missing in between.
        coming.replace(path)

    async def ask(self, question: str) -> dict[int, bytes | None]:
        """What each other worker answers, by its number; None from one that does not, or not within two seconds."""
        others = sorted(
            int(path.name) for path in self._folder.iterdir() if path.name.isdigit() and int(path.name) != self.number
        )
        answers = await asyncio.gather(*(self._ask(number, question) for number in others))
        return dict(zip(others, answers, strict=True))

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
