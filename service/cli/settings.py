"""`rosetta settings`: every setting with its value, and where it came from."""

import os

import click

from service.cli.output import FAILED, FINE, complain, show_json, show_table
from service.cli.parameters import as_json
from service.config import env_file, secret_files, settings
from service.errors import StartError

_HIDDEN = "********"


@click.command("settings")
@click.option("--changed", "is_changed", is_flag=True, help="Only those that are not the default.")
@click.option("--explain", "is_explained", is_flag=True, help="Also say what each is for.")
@as_json
def command(is_changed: bool, is_explained: bool, is_json: bool) -> int:
    """Show every setting with its value, and where it came from. Secrets are hidden.

    The exit code is 1 if the service would not start with them.

    \b
    Examples:
      rosetta settings --changed
      ROSETTA_PORT=9000 rosetta settings
    """
    facts = [fact for fact in _facts() if fact["from"] != "default" or not is_changed]
    names = ("variable", "value", "from", "meaning") if is_explained else ("variable", "value", "from")
    if is_json:
        show_json(facts)
    else:
        show_table([name.upper() for name in names], [[fact[name] for name in names] for fact in facts])
    try:
        settings.load()
    except StartError as error:
        complain(f"rosetta settings: the service would not start: {error}")
        return FAILED
    return FINE


def _facts() -> list[dict[str, str]]:
    facts = []
    for setting in settings.describe():
        value, origin = setting.default, "default"
        if setting.variable in os.environ:
            value = _HIDDEN if setting.is_secret else os.environ[setting.variable]
            origin = str(secret_files.origin(setting.variable) or env_file.origin(setting.variable) or "environment")
        facts.append({"variable": setting.variable, "value": value, "from": origin, "meaning": setting.meaning})
    return facts
