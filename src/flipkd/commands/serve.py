"""serve: run an HTTP server for a matcher folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipkd.command_config import ServeConfig
from flipkd.errors import ConfigError
from flipkd.extras import require_extra
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.index import open_index

if TYPE_CHECKING:
    from flipkd.commands.search import Encode

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

    Raises ConfigError for a key file without a key and ArtefactError for a folder without a complete matcher, both before
    the server listens.
    """
    require_extra("serve", user="flipkd serve")
    key = None if config.api_key_file is None else _read_key(Path(config.api_key_file))
    from flipkd.commands.search import encoder_of
    from flipkd.matcher import Matcher
    from flipkd.serve import server
    from flipkd.serve.limits import Limits
    from flipkd.serve.loaded import Loaded
    from flipkd.serve.service import Service
    from flipkd.student.contract import find_matcher, matcher_name

    folder, base_model = find_matcher(config.matcher), config.base_model
    check_manifest(folder)
    entries = None if config.index is None else open_index(config.index)

    def load() -> Loaded:
        """Load the matcher and the encoder of the index."""
        matcher = Matcher.from_pretrained(folder, base_model=base_model, merge=config.merge, exact=config.exact)
        encode = (
            None if entries is None else encoder_of(entries, config.encoder, matcher=matcher, base_model=base_model)
        )
        return Loaded(matcher, entries, encode if encode is None or not config.exact else _one_by_one(encode))

    service = Service(
        load,
        limits=Limits(**config.model_dump(include=set(LIMITS))),
        name=matcher_name(folder),
        revision=sha256(folder / MANIFEST)[:12],
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
