"""Subcommands that export a matcher to other libraries: export, verify."""

from __future__ import annotations

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import compute, show_result
from flipkd.command_config import ExportConfig, VerifyConfig


def export(config: ExportConfig, *, as_json: AsJson = False) -> None:
    """Export a matcher to a format of another library.

    The export is loaded with that library and compared with the matcher before it appears.
    """
    from flipkd.commands.export import export as run
    from flipkd.commands.results import comparison_text

    found = compute(run, config)
    show_result(found, f"{comparison_text(found)}\n{config.to}: {config.output_dir}", as_json=as_json)


def verify(config: VerifyConfig, *, as_json: AsJson = False) -> None:
    """Compare an export with its matcher.

    The export is loaded by its own library. Ends with exit code 7 when ids or scores differ beyond the bounds of the format.
    """
    from flipkd.commands.results import comparison_text
    from flipkd.commands.verify import mismatch
    from flipkd.commands.verify import verify as run

    found = compute(run, config)
    show_result(found, comparison_text(found), as_json=as_json)
    if found["beyond"]:
        raise mismatch(config.export, found["beyond"])
