"""What can go wrong with a request, each with its status and the JSON that the caller gets."""

from typing import Any


class ServiceError(Exception):
    """An answer that is an error: `status` (HTTP), `kind` (its name on the wire), a message for people, details."""

    status = 500
    kind = "InternalError"
    headers: dict[str, str]

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = {}

    def body(self) -> dict[str, Any]:
        """The JSON object that the caller gets."""
        body: dict[str, Any] = {"error": self.kind, "message": self.message}
        if self.details:
            body["details"] = self.details
        return body


class EntityNotFoundError(ServiceError):
    """There is no such entity (404)."""

    status = 404
    kind = "EntityNotFoundError"

    def __init__(self, entity_type: str, entity_id: str) -> None:
        super().__init__(f"{entity_type} with id '{entity_id}' not found", entity_type=entity_type, entity_id=entity_id)


class InvalidInputError(ServiceError):
    """A parameter is not what it has to be (422)."""

    status = 422
    kind = "ValidationError"


class SyncError(ServiceError):
    """A sync brought nothing; a page then shows what was last known. The message says why and holds no secret."""


class SourceUnreachableError(SyncError):
    """The source database cannot be asked (502)."""

    status = 502
    kind = "SourceUnreachableError"


class SyncUnfinishedError(SyncError):
    """A sync takes longer than its caller may wait (504)."""

    status = 504
    kind = "SyncUnfinishedError"

    def __init__(self, source_id: int, waited_s: float) -> None:
        super().__init__(
            f"the sync has not finished within {waited_s * 1000:.0f} ms; it goes on, and pages will show its outcome",
            source_id=source_id,
        )


class SourceBusyError(SyncError):
    """Another transaction holds the source's rows in the config database (503)."""

    status = 503
    kind = "SourceBusyError"

    def __init__(self, source_id: int) -> None:
        super().__init__(
            "another transaction holds the source's rows in the config database; nothing was recorded, try again",
            source_id=source_id,
        )
        self.headers = {"Retry-After": "2"}


class ConfigDatabaseUnavailableError(ServiceError):
    """The config database cannot be asked (503), so that there is nothing true to answer with."""

    status = 503
    kind = "ConfigDatabaseUnavailableError"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the config database cannot be reached ({reason}); try again shortly")
        self.headers = {"Retry-After": "2"}


class CrossSiteError(ServiceError):
    """Another site's page sent what it may not (403)."""

    status = 403
    kind = "CrossSiteError"

    def __init__(self) -> None:
        super().__init__("another site's page may not ask for a sync; ROSETTA_CORS_ORIGINS names those that may")


class TooManyRequestsError(ServiceError):
    """A caller has had sources asked as often as it may (429)."""

    status = 429
    kind = "TooManyRequestsError"

    def __init__(self, limit: int, wait_s: int) -> None:
        super().__init__(f"at most {limit} syncs a minute; try again in {wait_s} s")
        self.headers = {"Retry-After": str(wait_s)}


class TooManyStreamsError(ServiceError):
    """This process serves as many live streams as it may (503)."""

    status = 503
    kind = "TooManyStreamsError"

    def __init__(self, most: int) -> None:
        super().__init__(f"this process serves {most} live streams already; try again shortly")
        self.headers = {"Retry-After": "5"}


class StartError(Exception):
    """The service cannot start; the message is one line that says what to change."""
