"""serve: run an HTTP server for a matcher folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipkd.command_config import ServeConfig
from flipkd.errors import ConfigError, RefusedError
from flipkd.extras import require_extra
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.index import Index

if TYPE_CHECKING:
    from flipkd.commands.search import Encode
    from flipkd.review.background import ReviewThread

LIMITS = (
    "batch_size",
    "max_wait",
    "max_items",
    "max_queue",
    "timeout",
    "grace",
)  # settings that are passed to `Limits`
SHORTEST_KEY = 16  # characters; a shorter key can be guessed


def serve(config: ServeConfig, *, listening: Callable[[str], None]) -> bool:
    """Serve the matcher until a signal comes; the callback `listening` gets the URL. See `serve.server.serve`.

    Raises ConfigError for a key file without a key, ArtefactError for a folder without a complete matcher, and RefusedError
    for a review queue that other machines could read without a key, all before the server listens.
    """
    require_extra("serve", user="flipkd serve")
    key = None if config.api_key_file is None else _read_key(Path(config.api_key_file))
    from flipkd.commands.match_review import warn_without_band
    from flipkd.commands.search import encoder_of
    from flipkd.matcher import Matcher
    from flipkd.serve import server
    from flipkd.serve.limits import Limits
    from flipkd.serve.loaded import Loaded
    from flipkd.serve.service import Service
    from flipkd.student.contract import find_matcher, matcher_name

    folder, base_model = find_matcher(config.matcher), config.base_model
    check_manifest(folder)
    entries = None if config.index is None else Index.load(config.index)

    def load() -> Loaded:
        """Load the matcher and the encoder of the index."""
        matcher = Matcher.from_pretrained(
            folder, base_model=base_model, merge=config.merge, exact=config.exact, cascade=config.cascade
        )
        if config.review_queue is not None:
            warn_without_band(matcher)
        encode = (
            None if entries is None else encoder_of(entries, config.encoder, matcher=matcher, base_model=base_model)
        )
        return Loaded(matcher, entries, encode if encode is None or not config.exact else _one_by_one(encode))

    with _review_thread(config, has_key=key is not None) as review:
        service = Service(
            load,
            limits=Limits(**config.model_dump(include=set(LIMITS))),
            name=matcher_name(folder),
            revision=sha256(folder / MANIFEST)[:12],
            review=review,
        )
        return server.serve(
            service,
            host=config.host,
            port=config.port,
            api_key=key,
            insecure=config.insecure,
            cors_origins=config.cors_origins,
            listening=listening,
        )


@contextmanager
def _review_thread(config: ServeConfig, *, has_key: bool) -> Iterator[ReviewThread | None]:
    """Context manager of the review queue, or None without one; it is closed after the last request."""
    if config.review_queue is None:
        yield None
        return
    from flipkd.review.background import ReviewThread
    from flipkd.review.queue import ReviewQueue
    from flipkd.serve.request_guard import is_loopback

    if not has_key and not is_loopback(config.host):
        raise RefusedError(
            f"host {config.host} can be reached from other machines, and /review shows the texts of all users; "
            "give --api_key_file, or leave --review_queue out"
        )
    queue = ReviewQueue(config.review_queue, create=True)
    review = ReviewThread(queue, share=config.review_sample, votes=config.review_votes)
    try:
        yield review
    finally:
        review.close()


def _one_by_one(encode: Encode) -> Encode:
    """Wrap `encode` to use one text per forward pass; a vector then does not depend on other requests."""
    return lambda texts: np.concatenate([encode([text]) for text in texts])


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api_key_file {path}: cannot be read ({error})") from None
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"--api_key_file {path}: holds no key; write one line of at least {SHORTEST_KEY} letters, digits or signs, "
            "for example the output of: openssl rand -hex 32"
        )
    return key
