"""The matchers that `flipkd serve` serves: where they are, and how each is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipkd.command_config import ServeConfig
from flipkd.command_config.serving import MatcherEntry, ModelsFile
from flipkd.commands.match_review import warn_without_band
from flipkd.errors import ConfigError, UsageError
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.index import SearchIndex
from flipkd.student.contract import MATCHER_FOLDER, find_matcher, matcher_name
from flipkd.yaml_values import read_yaml

if TYPE_CHECKING:
    from flipkd.commands.search import Encode
    from flipkd.serve.loaded import Loaded
    from flipkd.serve.models import Found, Plan

MOST_NAME = 100  # characters of the name of a matcher, which is part of a header


def read_plan(config: ServeConfig, *, index: SearchIndex | None) -> Plan:
    """Read which matchers there are, from the settings or from the file of `models`, again at each call.

    Raises UsageError unless exactly one of `matcher`, `matchers` and `models` is given, and for a name that cannot be used.
    """
    from flipkd.serve.models import Plan

    given = [name for name in ("matcher", "matchers", "models") if getattr(config, name)]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name in given) or "none of them"
        raise UsageError(f"got {got}; give one of --matcher, --matchers and --models")
    if config.matcher is not None:
        if config.aliases or config.default:
            raise UsageError("--aliases and --default need several matchers; give them with --matchers or --models")
        entries: Mapping[str, str | MatcherEntry] = {_name_of(config.matcher): config.matcher}
        return Plan(_finders(entries, config, index), strict=False)
    if config.models is None:
        return Plan(_finders(config.matchers, config, index), config.aliases, config.default)
    if config.aliases or config.default:
        raise UsageError("--aliases and --default go into the file of --models")
    values = read_yaml(Path(config.models))
    try:
        file = ModelsFile.check(values)
    except ConfigError as error:
        raise ConfigError(f"{config.models}: {error}") from None
    return Plan(_finders(file.matchers, config, index), file.aliases, file.default)


def _finders(
    entries: Mapping[str, str | MatcherEntry], config: ServeConfig, index: SearchIndex | None
) -> dict[str, Find]:
    for name in entries:
        if not (0 < len(name) <= MOST_NAME and name.isprintable()):
            raise UsageError(f"the matcher name {name!r} cannot be used; write 1 to {MOST_NAME} printable characters")
    found = {}
    for name, entry in entries.items():
        full = MatcherEntry(matcher=entry) if isinstance(entry, str) else entry
        found[name] = Find(full.matcher, full.base_model or config.base_model, config, index)
    return found


def _name_of(matcher: str) -> str:
    """Return the name of the only matcher; that of a link is its own, since the name must stay when the link leads elsewhere."""
    folder = find_matcher(matcher)
    written = Path(os.path.abspath(folder))
    if written == folder.resolve():
        return matcher_name(folder)
    return written.parent.name if written.name == MATCHER_FOLDER else written.name


class Find:
    """Finds the present version of a matcher: a link may lead elsewhere, or a branch of the hub, since the last call."""

    def __init__(self, matcher: str, base_model: str | None, config: ServeConfig, index: SearchIndex | None) -> None:
        self._matcher, self._base_model, self._config, self._index = matcher, base_model, config, index

    def __call__(self) -> Found:
        """Return the version and the function that loads it. Raises ArtefactError for a folder without a complete matcher."""
        from flipkd.serve.loaded import VERSION
        from flipkd.serve.models import Found

        # All files must be of one folder, even when the link changes while they are read.
        folder = find_matcher(self._matcher).resolve()
        if not (folder / MANIFEST).is_file():
            check_manifest(folder)  # raises; loading it checks all files
        return Found(sha256(folder / MANIFEST)[:VERSION], lambda: self._load(folder))

    def _load(self, folder: Path) -> Loaded:
        """Load the matcher, which checks its manifest and golden pair, and the encoder of the index."""
        from flipkd.commands.search import encoder_of
        from flipkd.matcher import Matcher
        from flipkd.serve.loaded import Loaded

        exact, cascade = self._config.exact, self._config.cascade
        matcher = Matcher.from_pretrained(
            folder, base_model=self._base_model, merge=self._config.merge, exact=exact, cascade=cascade
        )
        if self._config.review_queue is not None:
            warn_without_band(matcher, str(self._matcher))
        if self._index is None:
            return Loaded(matcher)
        encode = encoder_of(self._index, self._config.encoder, matcher=matcher, base_model=self._base_model)
        return Loaded(matcher, self._index, _one_by_one(encode) if exact else encode)


def _one_by_one(encode: Encode) -> Encode:
    """Wrap `encode` to use one text per forward pass; a vector then does not depend on other requests."""
    return lambda texts: np.concatenate([encode([text]) for text in texts])
