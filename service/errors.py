"""The errors that a request can end with, each with its HTTP status and the JSON that the caller gets."""

from typing import Any


class ServiceError(Exception):
    """A request that failed: `status` (HTTP), `kind` (its name in the JSON), a message for people, and details."""

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
    """A parameter has an invalid value (422)."""

    status = 422
    kind = "ValidationError"


class SyncError(ServiceError):
    """A sync failed; the page then shows the last known state. The message says why and contains no secret."""


class SourceUnreachableError(SyncError):
    """The source database cannot be queried (502)."""

    status = 502
    kind = "SourceUnreachableError"


class SyncUnfinishedError(SyncError):
    """A sync did not finish while its caller may wait (504)."""

    status = 504
    kind = "SyncUnfinishedError"

    def __init__(self, source_id: int, waited_s: float) -> None:
        super().__init__(
            f"the sync has not finished within {waited_s * 1000:.0f} ms; it continues, and pages will show its outcome",
            source_id=source_id,
        )


class SourceBusyError(SyncError):
    """Another transaction has locked the source's rows in the config database (503)."""

    status = 503
    kind = "SourceBusyError"

    def __init__(self, source_id: int) -> None:
        super().__init__(
            "another transaction has locked the source's rows in the config database; nothing was recorded, try again",
            source_id=source_id,
        )
        self.headers = {"Retry-After": "2"}


class ConfigDatabaseUnavailableError(ServiceError):
    """The config database cannot be queried (503), so there is no correct answer."""

    status = 503
    kind = "ConfigDatabaseUnavailableError"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the config database cannot be reached ({reason}); try again shortly")
        self.headers = {"Retry-After": "2"}


class MissingObjectsError(ConfigDatabaseUnavailableError):
    """The config database lacks objects of the service (503)."""

    def __init__(self) -> None:
        super().__init__("it lacks the service's objects: run rosetta migrate --repair")


class CrossSiteError(ServiceError):
    """A page of another site sent a request that it may not send (403)."""

    status = 403
    kind = "CrossSiteError"

    def __init__(self) -> None:
        super().__init__(
            "only this service's own pages and programs may request this, not another site's page; "
            "ROSETTA_CORS_ORIGINS lists the sites that may"
        )


class TooManyRequestsError(ServiceError):
    """A caller has reached its limit of syncs per minute (429)."""

    status = 429
    kind = "TooManyRequestsError"

    def __init__(self, limit: int, wait_s: int) -> None:
        super().__init__(f"at most {limit} syncs a minute; try again in {wait_s} s")
        self.headers = {"Retry-After": str(wait_s)}


class TooManyStreamsError(ServiceError):
    """This process already serves its maximum of live streams (503)."""

    status = 503
    kind = "TooManyStreamsError"

    def __init__(self, most: int) -> None:
        super().__init__(f"this process already serves {most} live streams; try again shortly")
        self.headers = {"Retry-After": "5"}


class StartError(Exception):
    """The service cannot start; the message is one line that says what to change."""
