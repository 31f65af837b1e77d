"""A stranger's text is a text, wherever a person reads it."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.cli.output import complain, say, show_table
from service.http.templates import render
from service.printable import masked, one_line, printable, printable_json
from service.telemetry.log_lines import configure_logging

# Colours, a title, a line of its own, and a text that reads backwards.
STRANGE = "a\x1b[31mred\x1b]0;title\x07\nroot  ok\r\u2028\u2029\u202egpj.exe\x85\x9b1m"
CONTROLS = set(STRANGE) - set("a[31mred]0;titlero ok.gpjx")


def test_control_characters_are_shown_as_such() -> None:
    """Everything else, in any script, stays as it is."""
    assert printable("a\nb\x1b[0m\u202e\x9b") == r"a\nb\x1b[0m\u202e\x9b"
    plain = "Zahlungen äöü 支払い платежи 🐘"
    assert printable(plain) == plain
    assert printable("a\nb\x00", keep="\n") == "a\nb\\x00"


def test_json_says_the_same_without_control_characters() -> None:
    """Programs read it; a person may as well."""
    shown = printable_json(json.dumps({"a": STRANGE}, ensure_ascii=False, indent=2))
    assert not CONTROLS & set(shown.replace("\n", ""))
    assert json.loads(shown) == {"a": STRANGE}


def test_error_is_kept_as_one_short_line() -> None:
    """A server's message may have megabytes, in many lines."""
    assert one_line(" a\nb\t c \x1b ") == r"a b c \x1b"
    assert one_line("x" * 5_000_000) == "x" * 499 + "…"
    assert one_line("\u202e" * 1000, 20) == r"\u202e" * 3 + "\\…"


def test_what_a_command_prints_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Also a cell of a table, whose width counts what is shown."""
    say(STRANGE)
    show_table(("NAME", "STATE"), [(STRANGE, "fine"), ("b", None)])
    complain(STRANGE)
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 4
    assert len(told.err.splitlines()) == 1
    assert not CONTROLS & set((told.out + told.err).replace("\n", ""))
    cells = told.out.splitlines()[1:]
    assert len({line.index(word) for line, word in zip(cells, ("STATE", "fine", "-"), strict=True)}) == 1


@contextlib.contextmanager
def log_written() -> Iterator[io.StringIO]:
    """What the log writes. The configuration of logging is the process's, and comes back."""
    configured, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            yield stderr
    finally:
        structlog.configure(**configured)
        root.handlers[:] = handlers
        root.setLevel(level)


def test_log_for_people_has_one_line_for_an_event() -> None:
    """A request's path and a library's message are a stranger's text."""
    with log_written() as stderr:
        configure_logging("console", "info", [])
        structlog.get_logger().info("request", path=STRANGE)
        logging.getLogger("library").warning("failed: %s", STRANGE)
    lines = stderr.getvalue()
    assert len(lines.splitlines()) == 2
    assert not CONTROLS & set(lines.replace("\n", ""))


def test_page_shows_what_would_turn_the_text() -> None:
    """A name that reads backwards could pass for another."""
    text = render("error.html", root="./", title="Not found", message="invoice\u202efdp", retry_s=None)
    assert "invoice\\u202efdp" in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot connect to postgres://me:se:cr@t@db/x", "cannot connect to postgres://me:***@db/x"),
        ("host=db password=secret user=me", "host=db password=*** user=me"),
        ("Password: 'a b', then", "Password: ***, then"),
        ('{"token": "abc"}', '{"token": ***}'),
        ("http://db/path: refused", "http://db/path: refused"),
    ],
)
def test_passwords_in_the_messages_of_others_are_masked(said: str, shown: str) -> None:
    """A driver's text may hold a whole DSN."""
    assert masked(said) == shown
