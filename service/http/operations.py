"""Health and metrics, for operators and orchestrators."""

from typing import Any

from litestar import MediaType, Response, route
from litestar.enums import HttpMethod

from service.http.caching_headers import GUESS_NOTHING
from service.http.context import AppRequest, runtime_of
from service.http.gate import is_known
from service.http.openapi import described, errors, named

_READ = [HttpMethod.GET, HttpMethod.HEAD]


@route("/health/live", http_method=_READ, summary="Liveness", **named("get_liveness", "operations"))
async def live() -> dict[str, str]:
    """Answers as long as the process runs."""
    return {"status": "live"}


@route(
    "/health/ready",
    http_method=_READ,
    summary="Readiness, and what is degraded",
    **named("get_readiness", "operations"),
    **described(dict[str, Any], 503, is_open=True),
)
async def ready(request: AppRequest) -> Response[dict[str, Any]]:
    """The state of each dependency, and what is degraded; 503 while the config database cannot be reached."""
    report = await runtime_of(request).reports.health()
    status = 200 if report["status"] != "unavailable" else 503
    # A load balancer has no token and needs no reasons, which name hosts.
    is_told_all = not request.app.state.is_guarded or is_known(request.scope)
    return Response(report if is_told_all else {"status": report["status"]}, status_code=status, headers=GUESS_NOTHING)


@route(
    "/metrics",
    http_method=_READ,
    summary="Metrics for Prometheus",
    media_type=MediaType.TEXT,
    responses=errors(401),
    **named("get_metrics", "operations"),
)
async def metrics(request: AppRequest) -> Response[bytes]:
    """In OpenMetrics if `Accept` names it, otherwise in Prometheus's text format; of all workers on this port."""
    text, media_type = await runtime_of(request).reports.metrics(request.headers.get("accept", ""))
    answer = Response(text, headers=GUESS_NOTHING | {"Vary": "accept"})
    # As a header: the framework would add a charset to a type that has one.
    answer.headers["content-type"] = media_type
    return answer


HANDLERS = [live, ready, metrics]
