"""Answers that are errors: JSON for programs, a page for a person's browser."""

from dataclasses import dataclass
from typing import Any

import msgspec

from service.http.caching_headers import GUESS_NOTHING
from service.http.templates import SECURITY_HEADERS, render, root_of

_TITLES = {404: "Not found", 503: "Not available right now"}
# An open page tries again that often, as long as the service cannot answer.
_RETRY_S = 10


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A finished body with its type and headers."""

    body: bytes
    media_type: str
    headers: dict[str, str]


def error_answer(
    status: int, content: dict[str, Any], *, path: str, accept: str, title: str | None = None
) -> ErrorAnswer:
    """`content` (`error`, `message`, perhaps `details`) in the form that fits the request.

    A browser asks for text/html; under /api everybody gets JSON. `title` is that of the page.
    """
    if path.startswith("/api") or "text/html" not in accept:
        return ErrorAnswer(json_body(**content), "application/json", dict(GUESS_NOTHING))
    message = str(content["message"])
    text = render(
        "error.html",
        root=root_of(path),
        title=title or _TITLES.get(status, "That did not work"),
        retry_s=_RETRY_S if status == 503 else None,
        message=f"{message[:1].upper()}{message[1:]}.",
    )
    return ErrorAnswer(text.encode(), "text/html; charset=utf-8", dict(SECURITY_HEADERS))


def json_body(error: str, message: str, **more: Any) -> bytes:
    """The JSON object of an error."""
    return msgspec.json.encode({"error": error, "message": message, **more})
