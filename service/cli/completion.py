"""`rosetta completion`: makes a shell complete commands, options and values."""

import click
from click.shell_completion import get_completion_class

from service.cli.output import FINE


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> int:
    """Print what makes SHELL complete the commands and options of rosetta.

    \b
    Examples:
      rosetta completion bash >> ~/.bashrc
      rosetta completion fish > ~/.config/fish/completions/rosetta.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = context.find_root()
    click.echo(found(root.command, {}, "rosetta", "_ROSETTA_COMPLETE").source())
    return FINE
