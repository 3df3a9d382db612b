"""Options that several verbs of the command line have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipkd.errors import UsageError

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings", show_default=False)
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="one setting, wins over --config; may be repeated", show_default=False
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="OURS=THEIRS", help="e.g. text1=title; may be repeated", show_default=False),
]
OutputDir = Annotated[
    str | None, typer.Option("--output_dir", metavar="FOLDER", help="folder to write", show_default=False)
]
Train = Annotated[str | None, typer.Option("--train_file", metavar="FILE", help="training pairs", show_default=False)]
Validation = Annotated[
    str | None, typer.Option("--validation_file", metavar="FILE", help="validation pairs", show_default=False)
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="seed of everything random", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
MatcherFolder = Annotated[str, typer.Option("--matcher", metavar="FOLDER", help="folder that flipkd train made")]
BaseModel = Annotated[
    str | None,
    typer.Option("--base_model", metavar="NAME", help="where the base model is now, if it moved", show_default=False),
]
Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="NAME", help="column to pass on; may be repeated", show_default=False),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder", metavar="FOLDER", help="where the index's encoder is now, if it moved", show_default=False
    ),
]
PassSize = Annotated[int, typer.Option("--batch_size", metavar="N", min=1, help="pairs per pass")]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch_size", metavar="N", min=1, help="pairs per pass; default: 32 on a CPU, what fits on a GPU"),
]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="read each pair alone: its score is the same among any other pairs; takes longer"),
]

Cascade = Annotated[
    bool,
    typer.Option(
        "--cascade", help="the kept teacher decides where it is sure, the LLM the rest (calibrate --cascade first)"
    ),
]

CascadeLoss = Annotated[
    float | None,
    typer.Option(
        "--cascade",
        metavar="LOSS",
        help="F1 that may be lost where the kept teacher decides alone, for example 0.005",
        show_default=False,
    ),
]


def mapping_of(words: list[str] | None) -> dict[str, str] | None:
    """`ours=theirs` words as a mapping. Raises UsageError for a word without '='."""
    if not words:
        return None
    mapping = {}
    for word in words:
        ours, equals, theirs = word.partition("=")
        if not equals or not ours or not theirs:
            raise UsageError(f"--columns {word!r}: write ours=theirs, for example --columns text1=title")
        mapping[ours] = theirs
    return mapping
