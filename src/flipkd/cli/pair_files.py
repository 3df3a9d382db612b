"""Subcommands that turn one file of pairs into another: select, enrich, propagate, weak-pairs."""

from __future__ import annotations

from flipkd.cli.terminal import show, stdout_to_stderr
from flipkd.command_config import EnrichConfig, PropagateConfig, SelectConfig, WeakPairsConfig


def select(config: SelectConfig) -> None:
    """Select pairs: difficult, disputed, unfamiliar or wrong ones.

    They are a pool to train on, or seeds to generate from.
    """
    from flipkd.commands.select import select as run

    with stdout_to_stderr():
        kept, pairs = run(config)
    show(f"{config.output}: {kept} of {pairs} pairs")


def enrich(config: EnrichConfig) -> None:
    """Add knowledge to the texts of pairs.

    Adds definitions, context or translations, or scores the pairs by a teacher that reads them.
    """
    from flipkd.commands.pair_files import enrich as run

    with stdout_to_stderr():
        changed, pairs = run(config)
    show(f"{config.output}: {pairs} pairs, {changed} with added knowledge")


def propagate(config: PropagateConfig) -> None:
    """Average probabilities over the graph of matching pairs.

    The pairs are scored. If a and b match, (a, c) and (b, c) have similar probabilities.
    """
    from flipkd.commands.pair_files import propagate as run

    with stdout_to_stderr():
        changed, pairs = run(config)
    show(f"{config.output}: {pairs} pairs, {changed} on the other side of 0.5")


def weak_pairs(config: WeakPairsConfig) -> None:
    """Make weakly labelled pairs from clicks, links or citations.

    Texts that share many targets match.
    """
    from flipkd.commands.pair_files import weak_pairs as run

    with stdout_to_stderr():
        matches, others = run(config)
    show(f"{config.output}: {matches + others} pairs ({matches} match, {others} do not)")
