"""serve: a matcher folder behind HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipkd.command_config import ServeConfig
from flipkd.errors import ConfigError
from flipkd.extras import require_extra
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.index import Index

if TYPE_CHECKING:
    from flipkd.commands.search import Encode

LIMITS = ("batch_size", "max_wait", "max_items", "max_queue", "timeout", "grace")  # of which `Limits` has more
SHORTEST_KEY = 16  # characters; what can be guessed is no key


def serve(config: ServeConfig, *, listening: Callable[[str], None]) -> bool:
    """Serve the matcher until a signal comes; `listening` is told the address. See `serve.server.serve`.

    Raises ConfigError for a key file that holds no key,
    ArtefactError for a folder that holds no whole matcher, both before it listens.
    """
    require_extra("serve", user="flipkd serve")
    key = None if config.api_key_file is None else _key(Path(config.api_key_file))
    from flipkd.commands.search import encoder_of
    from flipkd.matcher import Matcher
    from flipkd.serve import server
    from flipkd.serve.limits import Limits
    from flipkd.serve.service import Loaded, Service
    from flipkd.student.contract import matcher_folder

    folder, base_model = matcher_folder(config.matcher), config.base_model
    check_manifest(folder)
    entries = None if config.index is None else Index.load(config.index)

    def load() -> Loaded:
        loaded = Matcher.from_pretrained(folder, base_model=base_model, merge=config.merge, exact=config.exact)
        encode = (
            None if entries is None else encoder_of(entries, config.encoder, matcher=loaded, base_model=base_model)
        )
        return Loaded(loaded, entries, encode if encode is None or not config.exact else _each_alone(encode))

    service = Service(
        load,
        limits=Limits(**config.model_dump(include=set(LIMITS))),
        name=_name(folder),
        revision=sha256(folder / MANIFEST)[:12],
    )
    return server.serve(
        service, host=config.host, port=config.port, api_key=key, insecure=config.insecure, listening=listening
    )


def _each_alone(encode: Encode) -> Encode:
    """The same function with one text in a pass, whose vector then does not depend on who else searches."""
    return lambda texts: np.concatenate([encode([text]) for text in texts])


def _name(folder: Path) -> str:
    """What a client sees as the model's name: that of the folder, or of the run that it is the matcher of."""
    whole = folder.resolve()
    return whole.parent.name if whole.name == "matcher" and whole.parent.name else whole.name


def _key(path: Path) -> str:
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
