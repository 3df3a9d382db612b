"""The verbs that look at pairs before any model does: check, split."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flipkd.cli.options import AsJson, Columns, mapping_of
from flipkd.cli.terminal import show


def check(
    files: Annotated[list[str], typer.Argument(help="csv, tsv, jsonl, parquet or hub ids of pairs")],
    columns: Columns = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="model whose tokens lengths are counted in", show_default=False)
    ] = None,
    directed: Annotated[
        bool, typer.Option("--directed", help="(a, b) and (b, a) are two pairs, which may have two labels")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at pairs before training: balance, lengths, repeats, leaks."""
    from flipkd.stages.check import check as stage

    report = stage(files, columns=mapping_of(columns), tokenizer=tokenizer, directed=directed)
    show(report.as_json() if as_json else report.text())
    report.require()


def split(
    pairs: Annotated[str, typer.Argument(help="file of pairs")],
    columns: Columns = None,
    output_dir: Annotated[str, typer.Option("--output_dir", help="folder for the three files")] = "data",
    by: Annotated[
        Literal["text1", "text2", "group"] | None,
        typer.Option(
            "--by", help="what alone keeps rows together, e.g. text1 for an FAQ; default: every shared text and group"
        ),
    ] = None,
    validation: Annotated[float, typer.Option("--validation", min=0, max=1, help="share of validation pairs")] = 0.1,
    test: Annotated[float, typer.Option("--test", min=0, max=1, help="share of test pairs")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the split")] = 0,
) -> None:
    """Cut pairs into train, validation and test that share no text, or none of one side."""
    from flipkd.stages.check import split as stage

    sizes = stage(
        pairs,
        columns=mapping_of(columns),
        output_dir=output_dir,
        by=by,
        validation=validation,
        test=test,
        seed=seed,
    )
    for path, found in sizes.items():
        unlabelled = f", {found['unlabelled']} unlabelled" if found["unlabelled"] else ""
        show(f"{path}: {found['rows']} pairs ({found['positive']} match, {found['negative']} do not{unlabelled})")
