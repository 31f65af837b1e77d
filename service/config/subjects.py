"""What can be set, subject by subject: each setting with its unit, bounds, default and meaning.

Names end in their unit: `_s` seconds, `_ms` milliseconds, `_mb` MiB, `_gb` GiB.
"""

import ipaddress
import re
from typing import Annotated, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from service.config import cores, redis_url, tokens
from service.config.allowed_hosts import AllowedHosts
from service.config.credentials import parse_key
from service.config.webhooks import Webhook
from service.config.webhooks import parse as parse_webhooks


def _postgres_dsn(dsn: SecretStr) -> SecretStr:
    try:
        conninfo_to_dict(dsn.get_secret_value())
    except psycopg.ProgrammingError:
        # libpq's own message quotes the DSN, including its password.
        raise ValueError("is not a PostgreSQL connection string (postgresql://user:password@host:5432/db)") from None
    return dsn


def _redis_url(url: SecretStr) -> SecretStr:
    redis_url.parse(url.get_secret_value())
    return url


def _encryption_key(text: SecretStr) -> SecretStr:
    parse_key(text.get_secret_value())
    return text


def _host_patterns(text: str) -> str:
    AllowedHosts(text)
    return text


PostgresDsn = Annotated[SecretStr, AfterValidator(_postgres_dsn)]
SecretRedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
EncryptionKey = Annotated[SecretStr, AfterValidator(_encryption_key)]
HostPatterns = Annotated[str, AfterValidator(_host_patterns)]
# RFC 6454, section 6.2, without wildcards: only listed origins are allowed.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")
_WAYS = "(password|md5|scram-sha-256|none)"
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_ENDPOINT = re.compile(r"https?://[^\s@/]+(/\S*)?")

Milliseconds = Annotated[int, Field(gt=0, le=600_000)]
Seconds = Annotated[int, Field(gt=0, le=86_400)]


def _number_of_workers(value: object) -> object:
    return cores.usable() if value == "auto" else value


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _each(text: str, form: re.Pattern[str], problem: str) -> str:
    for part in _listed(text):
        if not form.fullmatch(part):
            raise ValueError(f"'{part}' {problem}")
    return text


class Servers(BaseSettings):
    """What it connects to."""

    config_dsn: PostgresDsn = Field(description="rosetta_config; several hosts are allowed, the primary is used")
    listener_dsn: PostgresDsn | None = Field(
        None, description="the listener's connection to the primary, without a pooler; default: ROSETTA_CONFIG_DSN"
    )
    redis_url: SecretRedisUrl = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
    )
    credential_encryption_key: EncryptionKey = Field(
        validation_alias="CREDENTIAL_ENCRYPTION_KEY",
        description="the platform's key for source passwords: base64 of 32 bytes, or 32 characters",
    )

    @property
    def encryption_key(self) -> bytes:
        """The key for source passwords, as bytes."""
        return parse_key(self.credential_encryption_key.get_secret_value())


class Serving(BaseSettings):
    """Serving."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    workers: Annotated[int, BeforeValidator(_number_of_workers)] = Field(
        1, ge=1, le=256, description="processes that serve on that port; auto: one per core"
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]{1,64}){0,8}$",
        description="path under which a proxy passes requests on, e.g. /rosetta; not needed if the proxy removes it",
    )
    request_timeout_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="time limit for reading a request; answering may take its budgets longer; live streams have none",
    )
    keep_alive_s: int = Field(
        75,
        ge=1,
        le=3600,
        description="how long an idle connection stays open; longer than the balancer in front keeps it",
    )
    most_streams: int = Field(500, ge=0, le=100_000, description="maximum live streams (open pages) per process")
    start_wait_s: int = Field(
        0, ge=0, le=86_400, description="how long startup waits for the config database; 0: fail at once"
    )


class Access(BaseSettings):
    """Who may call."""

    access_tokens: str = Field(
        "", description="who may call: name:read:HASH or name:operate:HASH, separated by commas; see rosetta token"
    )
    open_access: bool = Field(False, description="true allows calls without a token from other hosts")
    host_names: str = Field(
        "",
        description="names under which the service may be called, beside localhost and addresses, separated by commas; "
        "default: any with tokens, no other without",
    )
    trusted_proxies: str = Field(
        "",
        description="addresses and networks of proxies whose X-Forwarded-For says who calls, separated by commas",
    )
    syncs_per_minute: int = Field(
        120, ge=0, le=1_000_000, description="maximum syncs per minute for one caller; 0: no limit"
    )
    cors_origins: str = Field(
        "", description="origins of other sites whose pages may call the API, separated by commas; default: none"
    )

    @field_validator("access_tokens")
    @classmethod
    def _tokens(cls, text: str) -> str:
        # A list of nothing is a mistake (`${A},${B}` of which neither is set): it must not open the service.
        if text and not tokens.parse(text):
            raise ValueError("has no entry; unset it if nobody needs a token")
        return text

    @field_validator("host_names")
    @classmethod
    def _names(cls, text: str) -> str:
        return _each(text, _HOST_NAME, "is no host name; example: details.example.com")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        return _each(text, _ORIGIN, "is not an origin; example: https://control.example.com")

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, text: str) -> str:
        for proxy in _listed(text):
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(f"'{proxy}' is no address or network; example: 10.0.0.5, 192.168.0.0/24") from None
        return text

    @property
    def cors_origin_list(self) -> list[str]:
        """The origins as a list."""
        return _listed(self.cors_origins)

    @property
    def host_name_list(self) -> list[str]:
        """The names as a list."""
        return _listed(self.host_names)


class Caching(BaseSettings):
    """Pages and caches."""

    cache_ttl_s: Seconds = Field(30, description="lifetime of a cached page, from its read of the database")
    stale_if_error_s: int = Field(
        300, ge=0, le=86_400, description="how long an expired page is served while the config database is unavailable"
    )
    memory_cache_mb: int = Field(
        64,
        ge=0,
        le=65_536,
        description="size of the process cache, and at most as much again to make new pages of; 0 disables both",
    )
    warm_pages: int = Field(
        0, ge=0, le=100_000, description="how many of the most requested pages to keep warm; 0: none"
    )
    fill_wait_ms: Milliseconds = Field(1000, description="longest wait for another process to compute the page")
    redis_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.:-]{0,64}$",
        description="stands before every key, if deployments share a Redis",
    )
    redis_timeout_ms: Milliseconds = Field(250, description="longest wait for Redis")


class ConfigDatabase(BaseSettings):
    """The config database and its view."""

    pool_min_size: int = Field(2, ge=0, le=1000, description="minimum connections to the config database")
    pool_max_size: int = Field(10, ge=1, le=1000, description="maximum connections to the config database")
    config_timeout_ms: Milliseconds = Field(5000, description="longest wait for the config database")
    refresh_wait_ms: Milliseconds = Field(2000, description="longest that a force_refresh waits for the view")
    refresh_share: float = Field(0.1, gt=0, le=1, description="largest share of time that refreshing the view may take")
    poll_interval_s: float = Field(5, gt=0, le=3600, description="how often to check whether the view needs a refresh")
    canary_interval_s: float = Field(2, gt=0, le=3600, description="how often a canary checks the listener")
    sample_share: float = Field(0.001, ge=0, le=1, description="share of cached reads that are checked afterwards")

    @model_validator(mode="after")
    def _pool_sizes(self) -> Self:
        if self.pool_min_size > self.pool_max_size:
            raise ValueError("ROSETTA_POOL_MIN_SIZE is above ROSETTA_POOL_MAX_SIZE")
        return self


class Sources(BaseSettings):
    """Reaching sources."""

    publication_budget_ms: Milliseconds = Field(250, description="longest that a page waits for a source")
    publication_ttl_s: Seconds = Field(30, description="how long a source's answer about its publication is used")
    source_connect_timeout_ms: Milliseconds = Field(2000, description="longest wait to connect to a source")
    source_statement_timeout_ms: Milliseconds = Field(10_000, description="longest time for a statement on a source")
    source_rest_s: Seconds = Field(30, description="how long page loads skip a source that failed")
    source_idle_s: Seconds = Field(60, description="how long an idle connection to a source is kept open")
    source_connections: int = Field(200, ge=1, le=10_000, description="maximum idle connections to sources, in total")
    source_hosts: HostPatterns = Field(
        "",
        description="allowed hosts of sources: names with *, addresses, networks, separated by commas; default: any",
    )
    source_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer",
        description="TLS to sources, as libpq's sslmode: disable, allow, prefer, require, verify-ca, verify-full",
    )
    source_sslrootcert: str | None = Field(
        None, description="file of CA certificates for verify-ca and verify-full, or: system"
    )
    source_require_auth: str = Field(
        "",
        pattern=rf"^({_WAYS}(,{_WAYS})*)?$",
        description="how to log in to sources with a password, as libpq's require_auth; "
        "default: scram-sha-256, or any way with verify-ca and verify-full",
    )


class Schedule(BaseSettings):
    """Syncs and the WAL monitor."""

    sync_budget_ms: Milliseconds = Field(5000, description="longest that a force_refresh waits for its sync, in total")
    sync_interval_s: int = Field(
        300, ge=0, le=86_400, description="how often every source is synced in the background; 0: never"
    )
    syncs_at_once: int = Field(
        4, ge=1, le=1000, description="maximum background syncs at once, in the whole deployment"
    )
    wal_interval_s: int = Field(
        0,
        ge=0,
        le=86_400,
        description="how often every source's slot is checked; 0: the platform's monitor does that",
    )
    wal_disk_gb: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="size of the disk that a source without max_slot_wal_keep_size keeps WAL on; 0: not known",
    )


class Webhooks(BaseSettings):
    """Webhooks."""

    webhooks: SecretStr = Field(
        SecretStr(""), description="who is told what happens to sources, as JSON; see docs/timeline.md; default: nobody"
    )
    webhook_hosts: HostPatterns = Field(
        "", description="hosts that webhooks may be on: names with *, addresses, networks, separated by commas"
    )

    @model_validator(mode="after")
    def _webhooks(self) -> Self:
        try:
            parse_webhooks(self.webhooks.get_secret_value(), self.webhook_hosts)
        except ValueError as error:
            raise ValueError(f"ROSETTA_WEBHOOKS {error}") from None
        return self

    @property
    def webhook_list(self) -> list[Webhook]:
        """The webhooks as a list."""
        return parse_webhooks(self.webhooks.get_secret_value(), self.webhook_hosts)


class Telemetry(BaseSettings):
    """Log and traces."""

    log_format: Literal["json", "console"] = Field("json", description="json, or console for people")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning, error")
    otlp_endpoint: str | None = Field(
        None, description="URL for traces, e.g. http://collector:4318/v1/traces; OTEL_EXPORTER_OTLP_HEADERS is read"
    )
    trace_share: float = Field(1, ge=0, le=1, description="share of requests that are traced")

    @field_validator("otlp_endpoint")
    @classmethod
    def _endpoint(cls, url: str | None) -> str | None:
        if url is not None and not _ENDPOINT.fullmatch(url):
            raise ValueError("is not the URL of a collector; example: http://collector.example.com:4318/v1/traces")
        return url
