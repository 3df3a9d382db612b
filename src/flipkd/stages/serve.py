"""serve: a matcher folder behind HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.errors import ConfigError
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.index import Index

if TYPE_CHECKING:
    from flipkd.stages.search import Encode

SHORTEST_KEY = 16  # characters; what can be guessed is no key


def serve(
    matcher: str,
    *,
    host: str,
    port: int,
    api_key_file: str | None = None,
    insecure: bool = False,
    base_model: str | None = None,
    merge: bool = False,
    exact: bool = False,
    index: str | None = None,
    encoder: str | None = None,
    limits: Mapping[str, Any],
    listening: Callable[[str], None],
) -> bool:
    """Serve the matcher until a signal comes; `listening` is told the address. See `serve.server.serve`.

    `index`: a folder of flipkd index, whose entries /search chooses from; `encoder`: where its encoder is, if it moved.
    `exact`: as `Matcher.from_pretrained`.
    `limits`: fields of `flipkd.serve.limits.Limits` that differ. Raises ConfigError for a key file that holds no key,
    ArtefactError for a folder that holds no whole matcher, both before it listens.
    """
    key = None if api_key_file is None else _key(Path(api_key_file))
    try:
        from flipkd.serve import server
    except ModuleNotFoundError as error:
        raise ConfigError(f'flipkd serve needs {error.name}; pip install "flipkd[serve]"') from None
    from flipkd.matcher import Matcher
    from flipkd.serve.limits import Limits
    from flipkd.serve.service import Loaded, Service
    from flipkd.stages.search import encoder_of
    from flipkd.student.contract import matcher_folder

    folder = matcher_folder(matcher)
    check_manifest(folder)
    entries = None if index is None else Index.load(index)

    def load() -> Loaded:
        loaded = Matcher.from_pretrained(folder, base_model=base_model, merge=merge, exact=exact)
        encode = None if entries is None else encoder_of(entries, encoder, matcher=loaded, base_model=base_model)
        return Loaded(loaded, entries, encode if encode is None or not exact else _each_alone(encode))

    service = Service(
        load,
        limits=Limits(**limits),
        name=_name(folder),
        revision=sha256(folder / MANIFEST)[:12],
    )
    return server.serve(service, host=host, port=port, api_key=key, insecure=insecure, listening=listening)


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
