"""The settings: environment variables, validated once at the start."""

import ipaddress
import re
from typing import Annotated, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.config import redis_url, tokens
from service.config.credentials import parse_key
from service.config.source_hosts import SourceHosts
from service.errors import StartError

_PREFIX = "ROSETTA_"


def _postgres_dsn(dsn: SecretStr) -> SecretStr:
    try:
        conninfo_to_dict(dsn.get_secret_value())
    except psycopg.ProgrammingError:
        # libpq's own message quotes the DSN, password and all.
        raise ValueError("is not a PostgreSQL connection string (postgresql://user:password@host:5432/db)") from None
    return dsn


def _redis_url(url: SecretStr) -> SecretStr:
    redis_url.parse(url.get_secret_value())
    return url


def _encryption_key(text: SecretStr) -> SecretStr:
    parse_key(text.get_secret_value())
    return text


PostgresDsn = Annotated[SecretStr, AfterValidator(_postgres_dsn)]
SecretRedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
EncryptionKey = Annotated[SecretStr, AfterValidator(_encryption_key)]
# RFC 6454, 6.2, and no wildcard: an origin is named or it is not allowed.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")
_ENDPOINT = re.compile(r"https?://[^\s@/]+(/\S*)?")

Milliseconds = Annotated[int, Field(gt=0, le=600_000)]
Seconds = Annotated[int, Field(gt=0, le=86_400)]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Settings(BaseSettings):
    """Every setting with its default. Names end in their unit: `_s` seconds, `_ms` milliseconds, `_mb` MiB."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    config_dsn: PostgresDsn = Field(description="rosetta_config; several hosts allowed, the primary is found")
    listener_dsn: PostgresDsn | None = Field(
        None, description="the listener's direct way to the primary, past any pooler; default: ROSETTA_CONFIG_DSN"
    )
    redis_url: SecretRedisUrl = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
    )
    credential_encryption_key: EncryptionKey = Field(
        validation_alias="CREDENTIAL_ENCRYPTION_KEY",
        description="the platform's key to source passwords: base64 of 32 bytes, or 32 characters",
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    access_tokens: str = Field(
        "", description="who may call: name:read:HASH or name:operate:HASH, separated by commas; see rosetta token"
    )
    open_access: bool = Field(False, description="true lets anybody call on an address that others reach")
    syncs_per_minute: int = Field(
        120, ge=0, le=1_000_000, description="most syncs a minute that one caller may ask for; 0: any number"
    )
    cors_origins: str = Field(
        "", description="origins of other sites whose pages may call the API, separated by commas; none by default"
    )
    request_timeout_s: float = Field(
        30, gt=0, le=3600, description="longest that a request may arrive and be answered; live streams have no end"
    )
    most_streams: int = Field(1000, ge=0, le=100_000, description="most live streams (open pages) of one process")
    start_wait_s: int = Field(
        0, ge=0, le=86_400, description="how long a start waits for the config database; 0 fails at once"
    )
    log_format: Literal["json", "console"] = Field("json", description="json, or console for people")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning, error")

    cache_ttl_s: Seconds = Field(30, description="life of a cached page, counted from when it was read")
    stale_if_error_s: int = Field(
        300, ge=0, le=86_400, description="how long past its life a page is served while the config database is away"
    )
    memory_cache_mb: int = Field(64, ge=0, le=65_536, description="process cache; 0 turns it off")
    warm_pages: int = Field(
        0, ge=0, le=100_000, description="most pages that are read before somebody asks, the most wanted; 0: none"
    )
    fill_wait_ms: Milliseconds = Field(1000, description="longest wait for another process that computes the page")
    redis_timeout_ms: Milliseconds = Field(250, description="longest wait for Redis")

    pool_min_size: int = Field(2, ge=0, le=1000, description="warm connections to the config database")
    pool_max_size: int = Field(10, ge=1, le=1000, description="most connections to the config database")
    config_timeout_ms: Milliseconds = Field(5000, description="longest wait for the config database")

    publication_budget_ms: Milliseconds = Field(250, description="longest that a page waits on a source")
    publication_ttl_s: Seconds = Field(30, description="how long a source's answer on its publication is good")
    source_connect_timeout_ms: Milliseconds = Field(2000, description="longest wait to connect to a source")
    source_statement_timeout_ms: Milliseconds = Field(10_000, description="longest statement on a source")
    sync_budget_ms: Milliseconds = Field(5000, description="longest that a force_refresh waits for its sync, in all")
    sync_interval_s: int = Field(
        300, ge=0, le=86_400, description="how often every source is synced by itself; 0: never"
    )
    syncs_at_once: int = Field(4, ge=1, le=1000, description="most such syncs at a time, in the whole deployment")
    wal_interval_s: int = Field(
        0,
        ge=0,
        le=86_400,
        description="how often every source's slot is looked at; 0: the platform's monitor does that",
    )
    source_rest_s: Seconds = Field(30, description="how long a source that failed is left alone by page loads")
    source_idle_s: Seconds = Field(60, description="how long an idle connection to a source is kept warm")
    source_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer",
        description="TLS to sources, as libpq's sslmode: disable, allow, prefer, require, verify-ca, verify-full",
    )
    source_sslrootcert: str | None = Field(
        None, description="file of the authorities that verify-ca and verify-full trust, or: system"
    )
    source_hosts: str = Field(
        "",
        description="hosts that sources may be on: names with *, addresses, networks, comma between; default: any",
    )
    source_connections: int = Field(200, ge=1, le=10_000, description="most idle connections to sources, in all")

    refresh_wait_ms: Milliseconds = Field(2000, description="longest that a force_refresh waits for the view")
    refresh_share: float = Field(0.1, gt=0, le=1, description="most of the time that refreshing the view may take")
    sample_share: float = Field(0.001, ge=0, le=1, description="share of cached reads that are checked afterwards")
    otlp_endpoint: str | None = Field(
        None, description="where traces go: http://collector:4318/v1/traces, say; OTEL_EXPORTER_OTLP_HEADERS is read"
    )
    trace_share: float = Field(1, ge=0, le=1, description="share of the requests that are traced")
    canary_interval_s: float = Field(2, gt=0, le=3600, description="how often the listener proves itself")
    poll_interval_s: float = Field(5, gt=0, le=3600, description="how often the view is looked after unasked")

    @field_validator("access_tokens")
    @classmethod
    def _tokens(cls, text: str) -> str:
        tokens.parse(text)
        return text

    @field_validator("otlp_endpoint")
    @classmethod
    def _endpoint(cls, url: str | None) -> str | None:
        if url is not None and not _ENDPOINT.fullmatch(url):
            raise ValueError("is no URL of a collector; one looks like http://collector.example.com:4318/v1/traces")
        return url

    @field_validator("source_hosts")
    @classmethod
    def _hosts(cls, text: str) -> str:
        SourceHosts(text)
        return text

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        for origin in _listed(text):
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin}' is no origin; one looks like https://control.example.com")
        return text

    @property
    def cors_origin_list(self) -> list[str]:
        """The origins, one by one."""
        return _listed(self.cors_origins)

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if not (self.access_tokens or self.open_access or _is_loopback(self.host)):
            raise ValueError(
                f"ROSETTA_HOST: {self.host} can be reached by others; set ROSETTA_ACCESS_TOKENS (see rosetta token), "
                "or ROSETTA_OPEN_ACCESS=true where something else guards the service"
            )
        return self

    @model_validator(mode="after")
    def _pool_sizes(self) -> Self:
        if self.pool_min_size > self.pool_max_size:
            raise ValueError("ROSETTA_POOL_MIN_SIZE is above ROSETTA_POOL_MAX_SIZE")
        return self

    @property
    def encryption_key(self) -> bytes:
        """The key to source passwords, as bytes."""
        return parse_key(self.credential_encryption_key.get_secret_value())

    @property
    def longest_answer_s(self) -> float:
        """What the budgets of a request come to, at the most."""
        return (self.sync_budget_ms + self.refresh_wait_ms + self.fill_wait_ms + 2 * self.config_timeout_ms) / 1000

    @property
    def secrets(self) -> list[str]:
        """What no log line, response or error may hold."""
        held = [self.credential_encryption_key.get_secret_value()]
        for dsn in (self.config_dsn, self.listener_dsn):
            password = conninfo_to_dict(dsn.get_secret_value()).get("password") if dsn else None
            if password:
                held.append(str(password))
        return held + redis_url.secrets(self.redis_url.get_secret_value())


def variable(field: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{_PREFIX}{field.upper()}"


def load() -> Settings:
    """The settings of this process; StartError with one line that names the first missing or wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            message = "is not set"
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if name in Settings.model_fields:
            name = variable(name)
        raise StartError(f"{name}: {message}" if name else message) from None


def describe() -> str:
    """Every variable with its default and its meaning, a line each, for `rosetta serve --help`."""
    lines = []
    for field, info in Settings.model_fields.items():
        default = info.default.get_secret_value() if isinstance(info.default, SecretStr) else info.default
        shown = "required" if info.is_required() else "-" if default in (None, "") else str(default)
        lines.append(f"  {variable(field):38}  {shown:26}  {info.description}")
    return "\n".join(lines)
