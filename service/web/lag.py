"""The lag over a longer time than a source's web page shows at first."""

from datetime import datetime

from markupsafe import Markup

from service.database.pool import ConfigDatabase
from service.errors import EntityNotFoundError
from service.http.templates import macros
from service.web import chart
from service.web.chart import SPANS, Span


async def lag_part(database: ConfigDatabase, source_id: int, span: Span) -> Markup:
    """The part of the page with the chart of a span. EntityNotFoundError, ConfigDatabaseUnavailableError."""
    row = await database.fetch_one(
        "lag_history", id=source_id, span_s=span.lasts.total_seconds(), bucket_s=span.bucket.total_seconds()
    )
    if row is None:
        raise EntityNotFoundError("Source", str(source_id))
    drawn = chart.draw(
        chart.samples(row["lag"]), thresholds(row["thresholds"]), (span, datetime.fromisoformat(row["now"]))
    )
    return Markup(macros("parts.html").lag(drawn, span, SPANS, has_history=True))  # noqa: S704  # from a template that escapes


def thresholds(limits: dict[str, int] | None) -> dict[str, int]:
    """Thresholds for the chart, from the row of `source_details_wal_thresholds`."""
    return {"warning": limits["warning_bytes"], "error": limits["error_bytes"]} if limits else {}
