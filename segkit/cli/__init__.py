"""Command line of segkit. Command modules are imported when a command is named, so that ``--help`` is instant."""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import click

from segkit.cli.guard import guarded

__all__ = ["LazyGroup", "main"]

# command -> (module:object, one line for the overview); the overview is shown without importing torch
COMMANDS = {
    "data": ("segkit.cli.data:data", "Fetch, verify or draw the pictures of a data set."),
    "train": ("segkit.cli.train:train", "Train a network: your own, or the kit's where the full kit is installed."),
    "pretrain": ("segkit.cli.pretrain:pretrain", "Train the VGG-16 trunk on the training pictures, without ImageNet."),
    "evaluate": ("segkit.cli.evaluate:evaluate", "Score a checkpoint: per-class IoU, accuracy, pictures."),
    "check": ("segkit.cli.check:check", "Run the checks of all your notebooks and print a table."),
    "submit": ("segkit.cli.submit:submit", "Build your hand-in, check it as the grader will read it, print a receipt."),
}


class LazyGroup(click.Group):
    """A click group that imports a command's module only when the command is used, and runs it within ``guarded``.

    Args:
        table: Command -> ("module:object", one line for the overview).
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = dict(table)

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        """Parse the command line and run the command; a program's entry, whatever the console and the machine."""
        if not standalone_mode:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        with guarded():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, attribute = self.table[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        near = get_close_matches(args[0], self.table, 1)
        if near and args[0] not in self.table:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="segkit", message="segkit %(version)s")
def main() -> None:
    """Tools for the course on semantic segmentation with fully convolutional networks.

    Start with the notebooks; come here to train outside a notebook (train), to measure (evaluate) and to hand in
    (submit). Every command explains itself: python -m segkit COMMAND --help
    """
