"""Metrics for Prometheus, derived from events; one registry per process.

https://prometheus.io/docs/practices/naming/: base units (seconds, bytes), `_total` for counters.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric

from service.telemetry import exposition
from service.telemetry.events import (
    CanaryReceived,
    Event,
    Evicted,
    Filled,
    ListenerDown,
    NoticeFailed,
    NoticeSent,
    Observer,
    PageReplaced,
    RefreshFailed,
    RefreshSkipped,
    Sampled,
    ScheduledSync,
    SyncFailed,
    SyncFinished,
    TaskFailed,
    ViewRefreshed,
    WalRound,
    Warmed,
)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts events, and what readers are served (`served`, `responses`, `refusals`, `collapsed`)."""

    def __init__(self, observer: Observer) -> None:
        self._registry = CollectorRegistry()
        self.served = self._counter("pages", "pages served, by where they came from", "source")
        self.responses = self._counter("responses", "HTTP responses, by status", "status")
        self.refusals = self._counter("refusals", "requests refused, by the reason", "why")
        self.collapsed = self._counter("pages_collapsed", "readers who shared another reader's computation")
        self.sources = Gauge(
            "rosetta_sources", "sources by health, at the last check", ["health"], registry=self._registry
        )
        self._fills = self._counter(
            "fills", "pages computed; refused: an eviction took the lease; aside: no lease", "outcome"
        )
        self._replaced = self._counter("pages_replaced", "entries in Redis under a page's key that were not its page")
        self._warmed = self._counter("warmed", "hot pages computed before anyone requested them, by cause", "cause")
        self._evictions = self._counter("evictions", "evictions, by their cause", "cause")
        self._eviction = self._histogram("eviction_seconds", "from a change's notification to its eviction everywhere")
        self._canary = self._histogram(
            "commit_to_eviction_seconds", "from a change's commit to its eviction, measured by canaries"
        )
        self._refreshes = self._counter("view_refreshes", "refreshes of the view by this process", "outcome")
        self._refresh = self._histogram("view_refresh_seconds", "how long refreshing the view took")
        self._syncs = self._counter("syncs", "syncs with sources", "outcome")
        self._sync = self._histogram("sync_seconds", "how long a sync took, in total")
        self._scheduled = self._counter("scheduled_syncs", "scheduled syncs of sources", "outcome")
        self._wal_looks = self._counter("wal_looks", "checks of sources' slots by the WAL monitor", "outcome")
        self._notices = self._counter("notices", "attempts to send a notice to a webhook", "webhook", "outcome")
        self._sync_phase = self._histogram("sync_phase_seconds", "how long each phase of a sync took", "phase")
        self._listener_losses = self._counter("listener_losses", "how often the listener lost its connection")
        self._task_failures = self._counter("task_failures", "unexpected failures; the log has details", "task")
        self._samples = self._counter("samples", "served pages compared with the database", "outcome")
        self._sample_age = Gauge(
            "rosetta_sample_mismatch_age_seconds", "age of the last page that differed", registry=self._registry
        )
        observer.subscribe(self._count)

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Adds a gauge; `read` gives its value at every scrape."""
        Gauge(f"rosetta_{name}", meaning, registry=self._registry).set_function(read)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics and their media type, as `exposition.text` makes it."""
        return exposition.text(self._registry, accept)

    def families(self) -> list[Metric]:
        """All metrics, as they are now."""
        return list(self._registry.collect())

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"rosetta_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"rosetta_{name}", meaning, labels, buckets=_SECONDS, registry=self._registry)

    def _count(self, event: Event) -> None:
        match event:
            case Evicted():
                self._evictions.labels(event.cause).inc()
                self._eviction.observe(event.took_ms / 1000)
            case CanaryReceived():
                self._canary.observe(event.evicted_ms / 1000)
            case Filled():
                self._fills.labels(event.outcome).inc()
            case PageReplaced():
                self._replaced.inc()
            case Warmed():
                self._warmed.labels("renewal" if event.is_renewal else "eviction").inc()
            case ViewRefreshed():
                self._refreshes.labels("refreshed").inc()
                self._refresh.observe(event.took_ms / 1000)
            case RefreshSkipped():
                self._refreshes.labels(event.why).inc()
            case RefreshFailed():
                self._refreshes.labels("failed").inc()
            case SyncFinished():
                self._syncs.labels(event.outcome).inc()
                self._sync.observe(event.took_ms / 1000)
                for phase, took_ms in event.phases_ms.items():
                    self._sync_phase.labels(phase).observe(took_ms / 1000)
            case SyncFailed():
                self._syncs.labels("failed").inc()
            case ScheduledSync():
                self._scheduled.labels("failed" if event.error else "synced").inc()
            case WalRound():
                self._wal_looks.labels("troubled").inc(event.troubled)
                self._wal_looks.labels("fine").inc(event.sources - event.troubled)
            case NoticeSent():
                self._notices.labels(event.webhook, "sent").inc()
            case NoticeFailed():
                self._notices.labels(event.webhook, "failed").inc()
            case ListenerDown():
                self._listener_losses.inc()
            case TaskFailed():
                # Some names end in a source's id, which must not become a label.
                self._task_failures.labels(event.task.rstrip("0123456789 ")).inc()
            case Sampled():
                self._samples.labels("same" if event.age_s is None else "different").inc()
                if event.age_s is not None:
                    self._sample_age.set(event.age_s)
