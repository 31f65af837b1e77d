"""Another implementation is asked for what can be compared, and its secrets stay secret."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.bench import against, arguments
from tests.bench.__main__ import main
from tests.bench.against import AgainstError, Other, pace, probe, tables, wanted
from tests.bench.load import LoadError, parsed, script

_SECRET = "s3cret-of-theirs"
_WRK = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Latency Distribution
     50%  480.00us
     75%    1.00ms
     90%    2.00ms
     99%    1.20s
  100 requests in 1.00s, 1MB read
Requests/sec:   1234.50
"""


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000/x", "ftp://host/x", "http://", "http://host:port/x", "http://host:99999/x", "http://[::1/x",
     "http://host/with space", f"http://user:{_SECRET}@host/x"],
)  # fmt: skip
def test_wrong_url_is_one_line_and_exit_code_2(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started."""
    monkeypatch.setattr("sys.argv", ["bin/bench", "--against", url])
    assert main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "--against takes" in said.err
    assert _SECRET not in said.err


@pytest.mark.parametrize(
    "header", [_SECRET, f"Authorization {_SECRET}", f"Two words: {_SECRET}", f"X: {_SECRET}\r\nY: 1", f"X: é{_SECRET}"]
)
def test_wrong_header_is_not_repeated(
    header: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given may be the secret alone."""
    monkeypatch.setattr("sys.argv", ["bin/bench", "--against", "http://127.0.0.1:1/x", "--header", header])
    assert main() == 2
    said = capsys.readouterr()
    assert "--header takes" in said.err
    assert _SECRET not in said.err + said.out


def test_nobody_there_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place, without the query, which may hold a key."""
    url = f"http://127.0.0.1:1/api?key={_SECRET}"
    monkeypatch.setattr("sys.argv", ["bin/bench", "--against", url, "--header", f"X: {_SECRET}"])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("http://127.0.0.1:1/api cannot be asked: ")
    assert said.count("\n") == 1
    assert _SECRET not in said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--header", f"X: {_SECRET}"], "--header needs --against"),
        (["--against", "http://host/x", "--header", "Authorization:", "Bearer", _SECRET], "must be in quotes"),
        (["--agains", _SECRET], "unknown arguments: --agains"),
        (["--against", "http://host/x", "--only", "serving"], "goes with neither"),
        (["--only", "nothing"], "invalid choice"),
    ],
)
def test_wrong_arguments(given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the reason."""
    with pytest.raises(SystemExit) as ended:
        arguments.parse(["serving"], given)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert _SECRET not in said


def test_headers_are_kept_apart_from_what_is_shown() -> None:
    """Values may have colons; a query is asked for, and not shown."""
    other = wanted(f"http://[::1]:80/p?key={_SECRET}", [f"Authorization: Bearer {_SECRET}", "X:a:b"])
    assert other.headers == {"Authorization": f"Bearer {_SECRET}", "X": "a:b"}
    assert other.shown == "http://[::1]:80/p"
    assert _SECRET in other.url
    assert _SECRET not in repr(other).replace(other.url, "")


def test_headers_are_strings_of_lua_for_wrk() -> None:
    """Quotes and backslashes end no string."""
    assert script({"If-None-Match": '"a\\b"'}, 7) == (
        'wrk.headers["If-None-Match"] = "\\"a\\\\b\\""\nfunction delay() return 7 end\n'
    )
    assert script({}, 0) == ""


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"tables": [1, 2, 3]}', 3),
        (b'{"data": {"source": {}, "tables": []}}', 0),
        (b'{"meta": {"tables": [1]}, "tables": [1, 2]}', 2),
        (b'{"tables": {"tables": [1]}}', 1),
        (b'{"meta": {}, "data": {"page": {"tables": [1, 2]}}}', 2),
        (b'{"rows": [{"tables": [1]}]}', None),
        (b"[]", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_tables_are_counted(body: bytes, count: int | None) -> None:
    """By the outermost list of that name."""
    assert tables(body) == count


async def test_probe_asks_for_304_with_the_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same headers; and says what came instead."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        known = request.headers.get("if-none-match")
        if request.url.path == "/tagged" and known == '"1"':
            return httpx.Response(304, content=_chunks(b""))
        if request.url.path == "/away":
            return httpx.Response(307, headers={"location": "/tagged"}, content=_chunks(b""))
        tag = {} if request.url.path == "/plain" else {"etag": '"1"'}
        return httpx.Response(200, headers=tag, content=_chunks(b'{"tables": [1, 2]}'))

    async def _chunks(body: bytes) -> AsyncIterator[bytes]:
        yield body

    client = httpx.AsyncClient

    def mocked(**options: object) -> httpx.AsyncClient:
        return client(transport=httpx.MockTransport(answer), **options)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(httpx, "AsyncClient", mocked)

    def other(path: str) -> Other:
        return wanted(f"http://host/{path}", [f"X: {_SECRET}"])

    assert await probe(other("tagged")) == against.Probe(18, 2, "yes")
    assert await probe(other("ignored")) == against.Probe(18, 2, "no, 200")
    assert await probe(other("plain")) == against.Probe(18, 2, "no, it has no ETag")
    assert {request.headers["x"] for request in asked} == {_SECRET}
    with pytest.raises(AgainstError, match="http://host/away answers 307, not 200; give the URL that it leads to"):
        await probe(other("away"))
    monkeypatch.setattr(against, "_MOST_BYTES", 17)
    with pytest.raises(AgainstError, match="more than"):
        await probe(other("tagged"))


@pytest.mark.parametrize("rate", [0.4, 3, 50, 700, 12_345])
def test_pace_is_at_most_the_rate(rate: float) -> None:
    """With as many connections as need not pause for long."""
    connections, pause_ms = pace(rate)
    assert 1 <= connections <= against.CONNECTIONS
    assert connections / (pause_ms / 1000) <= rate
    if rate > 10:
        assert pause_ms < 200


def test_load_is_what_wrk_printed() -> None:
    """In seconds; what is not a fair answer is an error in one line."""
    load = parsed(_WRK)
    assert (load.rate, load.p50_s, load.p99_s) == pytest.approx((1234.5, 0.00048, 1.2))
    for output, says in (
        (_WRK + "  Non-2xx or 3xx responses: 3\n", "2xx"),
        (_WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
        (_WRK.replace("1234.50", "0.00"), "no request"),
        ("unable to connect", "no request"),
    ):
        with pytest.raises(LoadError, match=says):
            parsed(output)
    assert parsed(_WRK + "  Non-2xx or 3xx responses: 3\n", is_conditional=True).rate == 1234.5
