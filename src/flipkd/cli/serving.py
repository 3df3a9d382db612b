"""The verb that serves a matcher over HTTP."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from flipkd.cli.options import BaseModel, Encoder, Exact, MatcherFolder, PassSize
from flipkd.cli.terminal import prints_on_stderr, tell

OPEN_TO_ALL = "listen where other machines reach it although there is no key"


def serve(
    matcher: MatcherFolder,
    host: Annotated[str, typer.Option("--host", help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one")] = 8000,
    api_key_file: Annotated[
        str | None,
        typer.Option("--api_key_file", metavar="FILE", help="requests must bring the key in it", show_default=False),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help=OPEN_TO_ALL)] = False,
    base_model: BaseModel = None,
    index: Annotated[
        str | None,
        typer.Option("--index", metavar="FOLDER", help="texts that /search chooses from", show_default=False),
    ] = None,
    encoder: Encoder = None,
    merge: Annotated[bool, typer.Option("--merge", help="fold LoRA into the weights: faster, more memory")] = False,
    exact: Exact = False,
    batch_size: PassSize = 32,
    max_wait: Annotated[float, typer.Option("--max_wait", min=0, help="seconds that a pass waits to fill up")] = 0.0,
    max_items: Annotated[int, typer.Option("--max_items", min=1, help="pairs or texts of one request")] = 1000,
    max_queue: Annotated[int, typer.Option("--max_queue", min=1, help="pairs or texts that may wait")] = 4096,
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="seconds until a request is given up")] = 30.0,
    grace: Annotated[float, typer.Option("--grace", min=0, help="seconds for accepted requests after SIGTERM")] = 30.0,
) -> None:
    """Answer over HTTP until stopped."""
    from flipkd.stages.serve import serve as stage

    limits = {
        "batch_size": batch_size,
        "max_wait": max_wait,
        "max_items": max_items,
        "max_queue": max_queue,
        "timeout": timeout,
        "grace": grace,
    }
    with prints_on_stderr():
        at_work = stage(
            matcher,
            host=host,
            port=port,
            api_key_file=api_key_file,
            insecure=insecure,
            base_model=base_model,
            merge=merge,
            exact=exact,
            index=index,
            encoder=encoder,
            limits=limits,
            listening=lambda url: tell(f"listening on {url}; the model is loading"),
        )
    if at_work:  # Python would wait for the model's thread, whose result nobody wants any more
        sys.stderr.flush()
        os._exit(0)
