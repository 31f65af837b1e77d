"""The HTML templates in `service/web/templates/`, and how they write figures, dates and types."""

from datetime import datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import service
from service.printable import masked, printable
from service.sources.column_types import type_name
from service.sources.slots import slot_words
from service.sources.traps import traps
from service.units import amount, duration

_WEB = Path(service.__file__).resolve().parent / "web"
_STATIC = _WEB / "static"

# A page loads only what this service serves: injected markup can load nothing and run nothing.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Vary": "accept-encoding",
}

# A state is shown by a sign and a word, never by colour alone.
SIGNS = {"ok": "✓", "warning": "!", "error": "✕", "unknown": "?"}
_CHANGES = {
    "INITIAL_LOAD": "new table",
    "NEW COLUMN": "column added",
    "DROP COLUMN": "column dropped",
    "CHANGES TYPE": "columns changed",
}
_DESTINATIONS = {"SNOWFLAKE": "Snowflake", "POSTGRES": "PostgreSQL"}
# Bytes per minute: an idle server writes that much anyway.
_STEADY = 10 * 1024


# One file for each page: a page is painted when its script has run, and over a slow line each file more takes time.
_BUNDLES = {
    "plain.js": ("common",),
    "list.js": ("common", "list"),
    "source.js": ("common", "chart", "sync", "details"),
}


@cache
def content(name: str) -> bytes:
    """The bytes of a static file; a page's script is put together from its parts."""
    if name in _BUNDLES:
        return b"\n".join((_STATIC / f"{part}.js").read_bytes() for part in _BUNDLES[name])
    return (_STATIC / name).read_bytes()


@cache
def asset(name: str) -> str:
    """The URL of a static file, below the root: its content's digest is in it, so browsers may cache it forever."""
    return f"assets/{blake2b(content(name), digest_size=6).hexdigest()}/{name}"


def root_of(path: str) -> str:
    """The way from a path to the root. Relative, as every link: a proxy may serve this below a path of its own."""
    return "../" * (path.count("/") - 1) or "./"


def _moment(text: str) -> str:
    """`2026-11-25T10:32:11.5+00:00` as `2026-11-25 10:32:11 UTC`."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def _type_written(name: str) -> str:
    """A type of a difference in the style of `type_name`: the platform writes those of PostgreSQL in upper case."""
    return name.lower() if name.isupper() and '"' not in name else name


def _trend(per_minute: int | None) -> str | None:
    if per_minute is None:
        return None
    if abs(per_minute) < _STEADY:
        return "steady"
    return f"{'▲' if per_minute > 0 else '▼'} {amount(abs(per_minute))}/min"


def _visible(value: Any) -> Any:
    """A stranger's text must not turn the direction of what follows it. Line breaks are what they are elsewhere."""
    return printable(value, keep="\n\t\r") if type(value) is str else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_visible,
    )
    environment.globals.update(asset=asset, signs=SIGNS)
    environment.filters.update(
        moment=_moment,
        bytes=amount,
        duration=duration,
        trend=_trend,
        slot=slot_words,
        masked=masked,
        traps=traps,
        number=lambda number: f"{number:,}",
        type_name=type_name,
        type_written=_type_written,
        first_upper=lambda text: text[:1].upper() + text[1:],
        destination=lambda kind: _DESTINATIONS.get(kind, kind.capitalize()),
        change=lambda kind: _CHANGES.get(kind, kind),
        urlencode=lambda values: urlencode({key: value for key, value in values.items() if value not in ("", None)}),
    )
    return environment


def render(name: str, /, **values: Any) -> str:
    """Renders a template; every value is escaped."""
    return _environment().get_template(name).render(**values)


def macros(name: str) -> Any:
    """The macros of a template, as attributes; each returns escaped HTML."""
    return _environment().get_template(name).module
