"""`rosetta demo`: runs the whole product on embedded servers, and leaves nothing behind."""

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from service.demo import hints, story, surroundings
from service.demo.embedded import EmbeddedServerError, free_port
from service.demo.product import Demo, DemoError
from service.demo.reaper import Reaper, ReaperError

_CHECK = """\
A check of the whole product, in about half a minute. It starts two PostgreSQL servers, Valkey and the service on
127.0.0.1, with their files in {folder}. {plan}
Then it ends everything. Nothing else on this machine is touched.
"""


@click.command("demo")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the service. [default: 8000, or a free one]")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep the data in this folder.")
@click.option("--check", "is_check", is_flag=True, help="Run the whole story, print its times, and exit.")
def command(port: int | None, keep: Path | None, is_check: bool) -> int:
    """Run the whole product on embedded servers until Ctrl-C, and leave nothing behind.

    \b
    Examples:
      rosetta demo
      rosetta demo --check
    """
    surroundings.forget()
    signal.signal(signal.SIGTERM, _leave)
    # Under nohup it is ignored, and stays so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _leave)
    free = free_port(port or 8000)
    if port and free != port:
        print(f"rosetta demo: port {port} is in use; choose another one with --port", file=sys.stderr)
        return 1
    if is_check and keep and keep.is_dir() and any(keep.iterdir()):
        print(f"rosetta demo: --check needs an empty folder, and {keep} is not empty", file=sys.stderr)
        return 1
    try:
        with Reaper(keep) as reaper:
            return _run(Demo(reaper, free, is_alive=not is_check), check=is_check)
    except (DemoError, EmbeddedServerError, ReaperError) as error:
        print(f"rosetta demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running", flush=True)
        return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(demo: Demo, *, check: bool) -> int:
    if check:
        print(_CHECK.format(folder=demo.reaper.folder, plan=story.plan()), flush=True)
    print("Rosetta source details: starting on embedded servers", flush=True)
    try:
        demo.start()
        if check:
            return story.tell(demo)
        print(hints.what_to_try(demo), flush=True)
        demo.wait()
        return 0
    finally:
        # A second Ctrl-C must not interrupt the cleanup.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        demo.stop()
