"""Metrics as text, of one process or of all workers: there each sample names its worker."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser

OPEN_METRICS = "application/openmetrics-text"


class Collected(Protocol):
    """A registry, or what looks like one to prometheus_client."""

    def collect(self) -> Iterable[Metric]:
        """All families."""
        ...


def text(collected: Collected, accept: str) -> tuple[bytes, str]:
    """The metrics and their media type: OpenMetrics 1.0 if `accept` names it, else Prometheus's text format."""
    if OPEN_METRICS in accept:
        told: bytes = openmetrics.generate_latest(collected, version="1.0.0")  # type: ignore[no-untyped-call]
        return told, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(collected), CONTENT_TYPE_PLAIN_0_0_4


class OfAll:
    """The families of all workers, joined; `rosetta_worker_up` is 0 for one that did not answer."""

    def __init__(self, own: Iterable[Metric], number: int, others: Mapping[int, bytes | None]) -> None:
        self._own = own
        self._number = number
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """Each family once, its samples labelled by worker."""
        families: dict[str, Metric] = {}
        up = GaugeMetricFamily("rosetta_worker_up", "the worker answers the others", labels=["worker"])
        for number in sorted({self._number, *self._others}):
            answer = self._others.get(number)
            told = self._own if number == self._number else _parsed(answer)
            up.add_metric([str(number)], float(told is not None))
            for family in told or ():
                joined = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                joined.samples += [
                    sample._replace(labels=sample.labels | {"worker": str(number)}) for sample in family.samples
                ]
        yield up
        yield from families.values()


def _parsed(answer: bytes | None) -> list[Metric] | None:
    # A worker that ends may have answered half.
    with contextlib.suppress(ValueError):
        if answer is not None:
            return list(parser.text_string_to_metric_families(answer.decode()))  # type: ignore[no-untyped-call]
    return None
