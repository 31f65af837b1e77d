"""What the documentation takes from the code: the settings, and the events of the log."""

import inspect
import re

from service.config import settings
from service.telemetry import events
from tests import PROJECT

_BLOCK = re.compile(r"(?<=<!-- generated -->\n).*?(?=<!-- end -->)", re.DOTALL)


def settings_tables() -> str:
    """A table for each subject."""
    lines: list[str] = []
    subject = ""
    for setting in settings.describe():
        if setting.subject != subject:
            subject = setting.subject
            lines += ["", f"## {subject}", "", "| variable | default | meaning |", "|---|---|---|"]
        default = setting.default if setting.default in ("required", "-") else f"`{setting.default}`"
        lines.append(f"| `{setting.variable}` | {default} | {setting.meaning} |")
    return "\n".join([*lines[1:], "", ""])


def events_table() -> str:
    """By name."""
    lines = ["| event | level | fields | what it means |", "|---|---|---|---|"]
    for name, kind in inspect.getmembers(events, inspect.isclass):
        if issubclass(kind, events.Event) and kind is not events.Event:
            fields = ", ".join(f"`{field}`" for field in kind.__annotations__ if field != "level")
            level = kind.level if isinstance(kind.level, str) else "debug, or error"
            meaning = " ".join((inspect.getdoc(kind) or "").split())
            lines.append(f"| `{name}` | {level} | {fields or '-'} | {meaning} |")
    return "\n".join([*lines, ""])


DOCUMENTS = {"docs/configuration.md": settings_tables, "docs/log.md": events_table}


def written(document: str) -> str:
    """The document's generated part, as it is."""
    found = _BLOCK.search((PROJECT / document).read_text())
    assert found is not None, f"{document} has no generated part"
    return found[0]


def write(document: str) -> None:
    """Writes the part anew."""
    path = PROJECT / document
    path.write_text(_BLOCK.sub(lambda _: DOCUMENTS[document](), path.read_text()))
