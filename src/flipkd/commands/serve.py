"""serve: run an HTTP server for one or several matcher folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flipkd.command_config import ServeConfig
from flipkd.commands.served_models import read_plan
from flipkd.extras import require_extra
from flipkd.index import Index

LIMITS = (
    "batch_size",
    "max_wait",
    "max_items",
    "max_queue",
    "timeout",
    "grace",
)  # settings that are passed to `Limits`


def serve(config: ServeConfig, *, listening: Callable[[str], None]) -> bool:
    """Serve the matchers until a signal comes; the callback `listening` gets the URL. See `serve.server.serve`.

    Raises ConfigError for a key file without a key and ArtefactError for a folder without a complete matcher, both before
    the server listens.
    """
    require_extra("serve", user="flipkd serve")
    from flipkd.serve import server
    from flipkd.serve.access import Access
    from flipkd.serve.addresses import read_networks
    from flipkd.serve.answer_log import AnswerLog
    from flipkd.serve.keys import read_keys
    from flipkd.serve.limits import Limits
    from flipkd.serve.models import Models

    access = Access(
        None if config.api_key_file is None else read_keys(Path(config.api_key_file)),
        trusted_proxies=read_networks(config.trusted_proxies),
        per_minute=config.requests_per_minute,
    )
    index = None if config.index is None else Index.load(config.index)
    models = Models(lambda: read_plan(config, index=index), limits=Limits(**config.model_dump(include=set(LIMITS))))
    log = None
    if config.answer_log is not None:
        log = AnswerLog(
            Path(config.answer_log),
            log_texts=config.log_texts,
            most_bytes=config.answer_log_bytes,
            most_files=config.answer_log_files,
        )
    try:
        return server.serve(
            models,
            host=config.host,
            port=config.port,
            access=access,
            insecure=config.insecure,
            cors_origins=config.cors_origins,
            on_answers=[] if log is None else [log.add],
            listening=listening,
        )
    finally:
        if log is not None:
            log.close()
