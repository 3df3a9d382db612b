"""Subcommands that make, check and change files of pairs: check, split, weak-pairs, generate, select, enrich, propagate."""

from __future__ import annotations

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import compute, show, show_result
from flipkd.command_config import (
    CheckConfig,
    EnrichConfig,
    GenerateConfig,
    PropagateConfig,
    SelectConfig,
    SplitConfig,
    WeakPairsConfig,
)


def check(config: CheckConfig, *, as_json: AsJson = False) -> None:
    """Check labelled pairs: balance, lengths, duplicates, leaks."""
    from flipkd.commands.check import check as run

    report = run(config)
    show(report.as_json() if as_json else report.text())
    report.require()


def split(config: SplitConfig) -> None:
    """Split pairs into train, validation and test sets.

    The sets share no text, or no text of one side.
    """
    from flipkd.commands.check import split as run

    for path, found in run(config).items():
        unlabelled = f", {found['unlabelled']} unlabelled" if found["unlabelled"] else ""
        show(f"{path}: {found['rows']} pairs ({found['positive']} match, {found['negative']} do not{unlabelled})")


def weak_pairs(config: WeakPairsConfig) -> None:
    """Make weakly labelled pairs from clicks, links or citations.

    Texts that share many targets match.
    """
    from flipkd.commands.pair_files import weak_pairs as run

    matches, others = compute(run, config)
    show(f"{config.output}: {matches + others} pairs ({matches} match, {others} do not)")


def generate(config: GenerateConfig, *, as_json: AsJson = False) -> None:
    """Generate training pairs with a language model.

    The model is behind an OpenAI-compatible server. A critic throws out the pairs whose label it does not support. Replies are
    cached: after a stop, the same command continues.
    """
    from flipkd.commands.generate import generate as run

    counts = compute(run, config)
    text = f"{config.output}: {counts['pairs']} pairs ({counts['match']} match, {counts['no_match']} do not)"
    if counts["requests"] or counts["cached"]:
        text += f"; {counts['requests']} requests, {counts['cached']} replies from the cache"
    if counts["dropped"]:
        text += "; thrown out: " + ", ".join(f"{count} {reason}" for reason, count in counts["dropped"].items())
    show_result(counts, text, as_json=as_json)


def select(config: SelectConfig) -> None:
    """Select pairs: difficult, disputed, unfamiliar or wrong ones.

    They are a pool to train on, or seeds to generate from.
    """
    from flipkd.commands.select import select as run

    kept, pairs = compute(run, config)
    show(f"{config.output}: {kept} of {pairs} pairs")


def enrich(config: EnrichConfig) -> None:
    """Add knowledge to the texts of pairs.

    Adds definitions, context or translations, or scores the pairs by a teacher that reads them.
    """
    from flipkd.commands.pair_files import enrich as run

    changed, pairs = compute(run, config)
    show(f"{config.output}: {pairs} pairs, {changed} with added knowledge")


def propagate(config: PropagateConfig) -> None:
    """Average probabilities over the graph of matching pairs.

    The pairs are scored. If a and b match, (a, c) and (b, c) have similar probabilities.
    """
    from flipkd.commands.pair_files import propagate as run

    changed, pairs = compute(run, config)
    show(f"{config.output}: {pairs} pairs, {changed} on the other side of 0.5")
