"""The verbs of search: index, search."""

from __future__ import annotations

from typing import Annotated

import typer

from flipkd.cli.options import BaseModel, Encoder, Exact, Keep, MatcherFolder
from flipkd.cli.terminal import prints_on_stderr, show

IndexFolder = Annotated[str, typer.Option("--index", metavar="FOLDER", help="folder that flipkd index made")]


def index(
    texts: Annotated[str, typer.Argument(help="file of texts to choose from, such as the questions of an FAQ")],
    encoder: Annotated[
        str,
        typer.Option("--encoder", metavar="FOLDER", help="teacher that embeds them, or a matcher that reads apart"),
    ],
    output_dir: Annotated[str, typer.Option("--output_dir", metavar="FOLDER", help="folder to write")] = "index",
    column: Annotated[
        str | None, typer.Option("--column", metavar="NAME", help="column of the texts", show_default=False)
    ] = None,
    keep: Keep = None,
    base_model: BaseModel = None,
) -> None:
    """Embed texts once, for search."""
    from flipkd.stages.search import index as stage

    with prints_on_stderr():
        made = stage(
            texts, encoder=encoder, output_dir=output_dir, column=column, keep=keep or (), base_model=base_model
        )
    show(f"{output_dir}: {len(made)} texts, vectors of width {made.vectors.shape[1]}")


def search(
    query: Annotated[str, typer.Argument(help="the text to find others for")],
    matcher: MatcherFolder,
    index: IndexFolder,
    top_k: Annotated[int, typer.Option("--top_k", min=1, help="entries to show")] = 5,
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="nearest entries that the matcher judges")
    ] = 20,
    encoder: Encoder = None,
    base_model: BaseModel = None,
    exact: Exact = False,
) -> None:
    """The entries of an index that match a text best."""
    from flipkd.stages.match import to_jsonl
    from flipkd.stages.search import search as stage

    with prints_on_stderr():
        rows = stage(
            query,
            matcher=matcher,
            index=index,
            top_k=top_k,
            candidates=candidates,
            encoder=encoder,
            base_model=base_model,
            exact=exact,
        )
    show(to_jsonl(rows).rstrip("\n"))
