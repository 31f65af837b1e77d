"""The health report and the metrics, of this process or of all workers on its port."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from service.health.process import Health
from service.telemetry import exposition
from service.telemetry.metrics import Metrics
from service.telemetry.siblings import Siblings


class Reports:
    """Asks the other workers, if there are `siblings`, so that whichever is asked tells of all."""

    def __init__(self, health: Health, metrics: Metrics, siblings: Siblings | None) -> None:
        self._health = health
        self._metrics = metrics
        self._siblings = siblings

    async def open(self) -> None:
        """From now on the other workers are answered."""
        if self._siblings is not None:
            await self._siblings.open({"health": self._tell_health, "metrics": self._tell_metrics})

    async def close(self) -> None:
        """Answers the other workers no more."""
        if self._siblings is not None:
            await self._siblings.close()

    async def health(self) -> dict[str, Any]:
        """`Health.report`; with several workers also `workers`: the status of each."""
        if self._siblings is None:
            return await self._health.report()
        own, others = await asyncio.gather(self._health.report(), self._siblings.ask("health"))
        return of_all(own, self._siblings.number, others)

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """`Metrics.text`; with several workers each sample names its worker."""
        if self._siblings is None:
            return self._metrics.text(accept)
        others = await self._siblings.ask("metrics")
        of_all = exposition.OfAll(self._metrics.families(), self._siblings.number, others)
        # Parsing the others' takes milliseconds for each.
        return await asyncio.to_thread(exposition.text, of_all, accept)

    async def _tell_health(self) -> bytes:
        return json.dumps(await self._health.report(), default=str).encode()

    async def _tell_metrics(self) -> bytes:
        return self._metrics.text(exposition.OPEN_METRICS)[0]


def of_all(own: dict[str, Any], number: int, others: Mapping[int, bytes | None]) -> dict[str, Any]:
    """This worker's health report, with the state of each worker and the others' reasons.

    Unavailable only if all are: the load balancer's question reaches now one and now another, and must get one answer.
    """
    reports: dict[int, dict[str, Any]] = {number: own}
    reports |= {other: _report(answer) for other, answer in others.items()}
    statuses = {report["status"] for report in reports.values()}
    status = "unavailable" if statuses <= {"unavailable", "down"} else "ready" if statuses == {"ready"} else "degraded"
    degraded = list(own["degraded"])
    for other, report in sorted(reports.items()):
        degraded += [f"worker {other}: {why}" for why in report["degraded"] if why not in own["degraded"]]
    return own | {
        "status": status,
        "degraded": degraded,
        "workers": {str(other): report["status"] for other, report in sorted(reports.items())},
    }


def _report(answer: bytes | None) -> dict[str, Any]:
    # A worker that ends may have answered half.
    with contextlib.suppress(ValueError):
        if answer is not None:
            report: dict[str, Any] = json.loads(answer)
            return report
    return {"status": "down", "degraded": ["does not answer; if it has ended, the log says why"]}
