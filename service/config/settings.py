"""The settings: environment variables, validated once at the start."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.config import redis_url, subjects
from service.errors import StartError

_PREFIX = "ROSETTA_"
# Requests, Redis, the listener, sources that are being asked, files.
_OTHER_DESCRIPTORS = 200
_URI_SCHEMES = ("postgresql://", "postgres://")
# As it is written there: percent-encoded, perhaps.
_PASSWORD_IN_URI = re.compile(r"(?<=:)[^/@]+(?=@)|(?<=[?&]password=)[^&]+")
# For commands that read no password: no password was encrypted with it.
_NO_KEY: Final = "0" * 32
# Those whose values are no SecretStr, and nobody's business.
_SECRET_FIELDS = ("access_tokens",)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(
    subjects.Servers,
    subjects.Serving,
    subjects.Access,
    subjects.Caching,
    subjects.ConfigDatabase,
    subjects.Sources,
    subjects.Schedule,
    subjects.Webhooks,
    subjects.Telemetry,
):
    """Every setting, by its subjects in the order of the documentation."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if not (self.access_tokens or self.open_access or _is_loopback(self.host)):
            raise ValueError(
                f"ROSETTA_HOST: other hosts can reach {self.host}; set ROSETTA_ACCESS_TOKENS (see rosetta token), "
                "or ROSETTA_OPEN_ACCESS=true if something else protects the service"
            )
        return self

    @property
    def longest_answer_s(self) -> float:
        """The sum of a request's budgets."""
        return (self.sync_budget_ms + self.refresh_wait_ms + self.fill_wait_ms + 2 * self.config_timeout_ms) / 1000

    @property
    def most_descriptors(self) -> int:
        """How many file descriptors these settings may need."""
        return self.most_streams + self.source_connections + self.pool_max_size + _OTHER_DESCRIPTORS

    @property
    def secrets(self) -> list[str]:
        """The values that no log line, response or error may contain."""
        held = [self.credential_encryption_key.get_secret_value()]
        for dsn in filter(None, (self.config_dsn, self.listener_dsn)):
            text = dsn.get_secret_value()
            if password := conninfo_to_dict(text).get("password"):
                held.append(str(password))
            if text.startswith(_URI_SCHEMES):
                held += _PASSWORD_IN_URI.findall(text)
        for webhook in self.webhook_list:
            held += [webhook.url, *webhook.hidden]
        return held + redis_url.secrets(self.redis_url.get_secret_value())


def variable(field: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{_PREFIX}{field.upper()}"


def load(*, needs_key: bool = True, chosen: Mapping[str, object] | None = None) -> Settings:
    """The settings of this process; StartError with one line that names the first missing or wrong variable.

    What is `chosen` by an option takes precedence. Without `needs_key` the key for source passwords may be missing.
    """
    values: dict[str, Any] = dict(chosen or {})
    if not needs_key and "CREDENTIAL_ENCRYPTION_KEY" not in os.environ:
        values["CREDENTIAL_ENCRYPTION_KEY"] = _NO_KEY
    try:
        return Settings(**values)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            message = "is not set"
        if problem["loc"] == ("port",) and os.environ.get("ROSETTA_PORT", "").startswith("tcp://"):
            message = (
                "is the address of a Service: Kubernetes sets this variable for one that is called rosetta; "
                "set it to a port yourself, or enableServiceLinks: false"
            )
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if name in Settings.model_fields:
            name = variable(name)
        raise StartError(f"{name}: {message}" if name else message) from None


class Described(NamedTuple):
    """What a person reads of a setting, by its subject; `default` is "required" or "-" (none) if there is no value."""

    subject: str
    variable: str
    default: str
    meaning: str
    is_secret: bool


def describe() -> list[Described]:
    """Every setting, in the order of the documentation."""
    described = []
    for subject, field, info in _fields():
        default = info.default.get_secret_value() if isinstance(info.default, SecretStr) else info.default
        shown = "required" if info.is_required() else "-" if default in (None, "") else str(default)
        is_secret = "Secret" in str(info.annotation) or field in _SECRET_FIELDS
        described.append(Described(subject, variable(field), shown, info.description or "", is_secret))
    return described


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    for subject in Settings.__bases__:
        assert issubclass(subject, BaseSettings)
        for field, info in subject.model_fields.items():
            yield (subject.__doc__ or "").removesuffix("."), field, info
