"""`rosetta demo`: runs the whole product on embedded servers, and leaves nothing behind."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from service.demo import hints, story, surroundings
from service.demo.embedded import EmbeddedServerError, free_port
from service.demo.product import Demo, DemoError
from service.demo.reaper import Reaper, ReaperError


def main(arguments: list[str]) -> int:
    """0 if a person ended it, or if --check succeeded; 1 otherwise."""
    parser = argparse.ArgumentParser(prog="rosetta demo", description="Run the whole product on embedded servers.")
    parser.add_argument("--port", type=_port, help="port of the service (default: 8000, or a free one)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the data in this folder")
    parser.add_argument("--check", action="store_true", help="run the whole story, print its times, and exit")
    options = parser.parse_args(arguments)
    surroundings.forget()
    signal.signal(signal.SIGTERM, _leave)
    # Under nohup it is ignored, and stays so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _leave)
    port = free_port(options.port or 8000)
    if options.port and port != options.port:
        print(f"rosetta demo: port {options.port} is in use; choose another one with --port", file=sys.stderr)
        return 1
    if options.check and options.keep and options.keep.is_dir() and any(options.keep.iterdir()):
        print(f"rosetta demo: --check needs an empty folder, and {options.keep} is not empty", file=sys.stderr)
        return 1
    try:
        with Reaper(options.keep) as reaper:
            return _run(Demo(reaper, port), check=options.check)
    except (DemoError, EmbeddedServerError, ReaperError) as error:
        print(f"rosetta demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running", flush=True)
        return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return int(text)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(demo: Demo, *, check: bool) -> int:
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
