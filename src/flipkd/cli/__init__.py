"""Command line of flipkd: one subcommand per job. Heavy libraries are imported only when a subcommand runs."""

from __future__ import annotations

import atexit
import gc
import logging
from typing import Annotated

import typer

from flipkd import __version__
from flipkd.cli import (
    data,
    diagnosing,
    entities,
    exporting,
    generating,
    indexing,
    matching,
    measuring,
    pair_files,
    review,
    training,
    watching,
)
from flipkd.cli.options import SettingsCommand, command
from flipkd.cli.terminal import quiet_libraries, run, set_up_logging, show, silence_other_ranks
from flipkd.cores import set_up_openmp

app = typer.Typer(
    name="flipkd",
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


for subcommand in (
    data.check,
    data.split,
    training.teach,
    training.train,
    matching.evaluate,
    measuring.retrieval,
    measuring.retrieval_set,
    matching.calibrate,
    matching.match,
    entities.candidates,
    entities.dedupe,
    matching.search,
    matching.serve,
    watching.watch,
    watching.ab,
    matching.push,
    exporting.export,
    exporting.verify,
    training.compare,
    pair_files.select,
    pair_files.enrich,
    pair_files.propagate,
    pair_files.weak_pairs,
    generating.generate,
    diagnosing.diagnose,
    training.demo,
):
    app.command(cls=SettingsCommand)(command(subcommand))
app.add_typer(review.app, name="review")
app.add_typer(indexing.app, name="index")


def main() -> None:
    """Run the command line."""
    # Imports and models create about a million objects that live until the end. Garbage collection over them, while they
    # load and again at exit, would take a large part of a short command's time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    run(app)
