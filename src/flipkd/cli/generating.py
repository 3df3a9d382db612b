"""Subcommand that makes training data with a language model: generate."""

from __future__ import annotations

import json

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show, stdout_to_stderr
from flipkd.command_config import GenerateConfig


def generate(config: GenerateConfig, *, as_json: AsJson = False) -> None:
    """Generate training pairs with a language model.

    The model is behind an OpenAI-compatible server. A critic throws out the pairs whose label it does not support. Replies are
    cached: after a stop, the same command continues.
    """
    from flipkd.commands.generate import generate as run

    with stdout_to_stderr():
        counts = run(config)
    text = f"{config.output}: {counts['pairs']} pairs ({counts['match']} match, {counts['no_match']} do not)"
    if counts["requests"] or counts["cached"]:
        text += f"; {counts['requests']} requests, {counts['cached']} replies from the cache"
    if counts["dropped"]:
        text += "; thrown out: " + ", ".join(f"{count} {reason}" for reason, count in counts["dropped"].items())
    show(json.dumps(counts, indent=2) if as_json else text)
