"""API keys: read from a file, compared in constant time, each with a limit of requests per minute."""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipkd.errors import ConfigError
from flipkd.yaml_values import read_yaml

SHORTEST_KEY = 16  # characters; a shorter key can be guessed
ADMIN = "admin"
MINUTE = 60.0
MOST_CLIENTS = 10_000  # whose requests are counted at the same time
FIELDS = ("key", "requests_per_minute", "admin")
ONE_KEY = (
    f"write one key of at least {SHORTEST_KEY} letters, digits or signs, for example the output of: openssl rand -hex 32; "
    "or a line NAME KEY [REQUESTS_PER_MINUTE] for each of several"
)


@dataclass(frozen=True)
class Key:
    """One key: its name, and whether it may use /admin."""

    name: str
    secret: str
    per_minute: int | None = None
    admin: bool = False


class Keys:
    """The keys of a server. Without one that is marked, the key called admin, or the only one, may use /admin."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = tuple(keys)
        marked = {key.name for key in keys if key.admin} or {key.name for key in keys if key.name == ADMIN}
        self.admins = marked or ({keys[0].name} if len(keys) == 1 else set())

    def find(self, secret: bytes) -> Key | None:
        """Find the key with this text; the time does not depend on how much of it is right."""
        found = None
        for key in self.keys:
            if hmac.compare_digest(secret, key.secret.encode()):
                found = key
        return found


class RateLimits:
    """Counts the requests of each client within the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def retry_after(self, client: str, per_minute: int) -> int:
        """Count a request and return 0, or return the seconds until the client may send one again."""
        now, times = self._clock(), self._times.setdefault(client, deque())
        self._times.move_to_end(client)
        if len(self._times) > MOST_CLIENTS:
            self._times.popitem(last=False)
        while times and times[0] <= now - MINUTE:
            times.popleft()
        if len(times) >= per_minute:
            return max(1, math.ceil(times[len(times) - per_minute] + MINUTE - now))
        times.append(now)
        return 0


def read_keys(path: Path) -> Keys:
    """Read a file of keys: one key, lines `name key [requests_per_minute]`, or YAML or JSON `name: key`.

    In YAML a key may also be `{key, requests_per_minute, admin}`. Raises ConfigError, which never shows a key.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api_key_file {path}: cannot be read ({error})") from None
    rows = [words for words in lines if words and not words[0].startswith("#")]
    if rows and (rows[0][0].startswith(("{", "}")) or rows[0][0].endswith(":")):
        keys = [_from_yaml(path, name, value) for name, value in read_yaml(path).items()]
    elif len(rows) == 1 and len(rows[0]) == 1:
        keys = [_checked(path, "the key", rows[0][0])]
    else:
        keys = [_from_words(path, words) for words in rows]
    if not keys:
        raise ConfigError(f"--api_key_file {path}: holds no key; {ONE_KEY}")
    for values, what in (([key.name for key in keys], "name"), ([key.secret for key in keys], "key")):
        if len(set(values)) < len(values):
            raise ConfigError(f"--api_key_file {path}: has a {what} twice; each must be different")
    return Keys(keys)


def _from_words(path: Path, words: list[str]) -> Key:
    if len(words) not in (2, 3):
        raise ConfigError(f"--api_key_file {path}: holds no key in a line of {len(words)} words; {ONE_KEY}")
    limit = int(words[2]) if len(words) == 3 and words[2].isascii() and words[2].isdigit() else words[2:] or None
    return _checked(path, words[0], words[1], limit)


def _from_yaml(path: Path, name: str, value: Any) -> Key:
    fields = value if isinstance(value, dict) else {"key": value}
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ConfigError(f"--api_key_file {path}: {name}: has no field {unknown[0]!r}; allowed: {', '.join(FIELDS)}")
    return _checked(
        path, name, fields.get("key"), fields.get("requests_per_minute"), admin=fields.get("admin", False) is True
    )


def _checked(path: Path, name: str, secret: Any, per_minute: Any = None, *, admin: bool = False) -> Key:
    usable = isinstance(secret, str) and secret.isascii() and secret.isprintable() and " " not in secret
    if not usable or len(secret) < SHORTEST_KEY:
        raise ConfigError(f"--api_key_file {path}: {name}: holds no key; {ONE_KEY}")
    if per_minute is not None and (type(per_minute) is not int or per_minute < 1):
        raise ConfigError(f"--api_key_file {path}: {name}: requests_per_minute must be a whole number of at least 1")
    return Key(name, secret, per_minute, admin)
