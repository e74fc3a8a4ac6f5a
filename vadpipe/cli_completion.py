"""``vadpipe completion``: what a shell needs to complete commands, options, files, runs and names. Imports no torch."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_VADPIPE_COMPLETE"


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, files, run folders and names.

    \b
    bash, in ~/.bashrc:   eval "$(vadpipe completion bash)"
    zsh, in ~/.zshrc:     eval "$(vadpipe completion zsh)"
    fish, once:           vadpipe completion fish > ~/.config/fish/completions/vadpipe.fish

    A shell that starts faster reads a file instead. bash has to be 4.4 or newer.

    \b
    Examples:
      vadpipe completion bash > ~/.vadpipe-complete.bash
      vadpipe completion zsh > ~/.vadpipe-complete.zsh
      vadpipe completion fish > ~/.config/fish/completions/vadpipe.fish
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    kind = get_completion_class(shell)
    if kind is None:  # click has all three
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "vadpipe", _VARIABLE).source())
