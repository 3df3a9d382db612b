"""Subcommands that read logs of answers: watch, ab."""

from __future__ import annotations

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import compute, show_result
from flipkd.command_config import AbConfig, WatchConfig


def watch(config: WatchConfig, *, as_json: AsJson = False) -> None:
    """Detect drift: compare newly scored pairs with a reference.

    Ends with exit code 7 when they differ.
    """
    from flipkd.commands.watch import require_no_drift, watch_text
    from flipkd.commands.watch import watch as run

    result = compute(run, config)
    show_result(result, watch_text(result), as_json=as_json)
    require_no_drift(result)


def ab(config: AbConfig, *, as_json: AsJson = False) -> None:
    """Compare the outcomes of two versions of a matcher.

    The test is sequential: it may be looked at every day.
    """
    from flipkd.commands.ab import ab as run
    from flipkd.commands.ab import ab_text

    result = compute(run, config)
    show_result(result, ab_text(result), as_json=as_json)
