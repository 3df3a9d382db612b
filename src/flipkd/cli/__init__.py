"""Command line of flipkd: one subcommand per job. Heavy libraries are imported only when a subcommand runs."""

from __future__ import annotations

import atexit
import gc
import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flipkd import __version__
from flipkd.cli import (
    data,
    entities,
    exporting,
    indexing,
    matching,
    measuring,
    review,
    training,
    watching,
)
from flipkd.cli.options import SettingsCommand, command
from flipkd.cli.terminal import quiet_libraries, run, set_up_logging, show, silence_other_ranks
from flipkd.cores import set_up_openmp

PANELS: dict[str, dict[str, typer.Typer | Callable[..., None]]] = {
    "Data": {
        "check": data.check,
        "split": data.split,
        "weak-pairs": data.weak_pairs,
        "generate": data.generate,
        "select": data.select,
        "enrich": data.enrich,
    },
    "Train and evaluate": {
        "diagnose": measuring.diagnose,
        "teach": training.teach,
        "train": training.train,
        "evaluate": matching.evaluate,
        "calibrate": matching.calibrate,
        "retrieval-set": measuring.retrieval_set,
        "retrieval": measuring.retrieval,
    },
    "Use": {
        "match": matching.match,
        "propagate": data.propagate,
        "candidates": entities.candidates,
        "dedupe": entities.dedupe,
        "index": indexing.app,
        "search": matching.search,
    },
    "Operate": {"serve": matching.serve, "review": review.app, "watch": watching.watch, "ab": watching.ab},
    "Publish": {"export": exporting.export, "verify": exporting.verify, "push": matching.push},
    "Experiment": {"demo": training.demo, "compare": training.compare},
}
"""Subcommands by the panel of the help text, in the order of the work."""
ORDER = [name for subcommands in PANELS.values() for name in subcommands]


class OrderedGroup(TyperGroup):
    """Group that lists its commands in ORDER; typer would list those that have subcommands last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands; click calls this."""
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    name="flipkd",
    cls=OrderedGroup,
    help="Small models that know the domain teach a large language model to match text.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(requested: bool) -> None:
    """Print the version and exit; typer calls this."""
    if requested:
        show(f"flipkd {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="log each step and show warnings of libraries")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="show the version", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Small models that know the domain teach a large language model to match text."""
    set_up_logging(logging.INFO if verbose else logging.WARNING)
    if not verbose:
        quiet_libraries()
    silence_other_ranks()
    set_up_openmp()


for panel, subcommands in PANELS.items():
    for name, subcommand in subcommands.items():
        if isinstance(subcommand, typer.Typer):
            app.add_typer(subcommand, name=name, rich_help_panel=panel)
        else:
            app.command(name, cls=SettingsCommand, rich_help_panel=panel)(command(subcommand))


def main() -> None:
    """Run the command line."""
    # Imports and models create about a million objects that live until the end. Garbage collection over them, while they
    # load and again at exit, would take a large part of a short command's time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    run(app)
