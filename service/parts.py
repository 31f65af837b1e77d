"""The parts that read pages and sync sources: all that a command needs."""

from service.cache.deployment import Deployment
from service.cache.keys import Keys
from service.cache.store import Cache
from service.config.settings import Settings
from service.database.pool import ConfigDatabase
from service.pages.details import Pages
from service.pages.fragments import KeptFragments
from service.pages.memory import Memory
from service.sources.connections import ConnectionOptions, Connections
from service.sources.overview import Overview
from service.sources.publication import Publications
from service.sources.sync import Synchronizer
from service.telemetry.events import Observer

_MIB = 1024 * 1024


class Parts:
    """The parts that read pages and sync sources. Commands need no others: they work without a listener or Redis.

    A sync by a command evicts as a write by any other program does: its changes notify every process that serves.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self.observer = observer
        self.database = ConfigDatabase(
            observer,
            dsn=settings.config_dsn.get_secret_value(),
            timeout_s=settings.config_timeout_ms / 1000,
            pool_min_size=settings.pool_min_size,
            pool_max_size=settings.pool_max_size,
        )
        self.redis = Deployment(settings.redis_url.get_secret_value(), settings.redis_timeout_ms / 1000)
        fill_wait_s = settings.fill_wait_ms / 1000
        self.cache = Cache(observer, Keys(settings.redis_prefix), eviction_wait_s=fill_wait_s)
        connect_s, statement_s = settings.source_connect_timeout_ms / 1000, settings.source_statement_timeout_ms / 1000
        options = ConnectionOptions(
            encryption_key=settings.encryption_key,
            connect_timeout_s=connect_s,
            statement_timeout_s=statement_s,
            rest_s=settings.source_rest_s,
            idle_s=settings.source_idle_s,
            most_idle=settings.source_connections,
            sslmode=settings.source_sslmode,
            sslrootcert=settings.source_sslrootcert,
            require_auth=settings.source_require_auth,
            allowed_hosts=settings.source_hosts,
        )
        self.connections = Connections(options, observer)
        self.publications = Publications(
            self.connections,
            self.cache,
            budget_s=settings.publication_budget_ms / 1000,
            patience_s=connect_s + statement_s,
            ttl_s=settings.publication_ttl_s,
        )
        self.pages = Pages(
            self.database,
            self.cache,
            Memory(settings.memory_cache_mb * _MIB, settings.stale_if_error_s),
            KeptFragments(settings.memory_cache_mb * _MIB),
            self.publications,
            observer,
            ttl_s=settings.cache_ttl_s,
            fill_wait_s=fill_wait_s,
        )
        self.synchronizer = Synchronizer(
            self.database,
            self.connections,
            self.publications,
            self.pages.evict,
            observer,
            budget_s=settings.sync_budget_ms / 1000,
            # The statements have their own limit. This one is for a source that stops answering.
            patience_s=connect_s + 3 * statement_s,
        )

        self.overview = Overview(self.database, lambda: self.connections.failures.reasons)

    async def identity(self) -> str:
        """Names the config database: its pages are not those of a copy. Raises ServiceError if it cannot be asked."""
        row = await self.database.fetch_one("identity")
        assert row is not None
        return str(row["identity"])

    async def close(self) -> None:
        """Closes every connection."""
        await self.connections.close()
        await self.redis.close()
        await self.database.close()
