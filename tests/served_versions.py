"""Matchers of the null server, described by JSON files that a test may change while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import Running, null_server

KEY = "0123456789abcdef"
BEARER = {"authorization": f"Bearer {KEY}"}


def write_version(path: Path, version: str, **settings: Any) -> str:
    """Describe the version of one matcher, at once for whoever reads it."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"version": version} | settings))
    os.replace(temporary, path)
    return str(path)


@contextmanager
def server_of(folder: Path, *names: str, **settings: Any) -> Iterator[Running]:
    """Start a server of matchers with version NAME-1 each, whose scores have offsets 1000, 2000 and so on."""
    files = {
        name: write_version(folder / f"{name}.json", f"{name}-1", offset=1000 * (place + 1))
        for place, name in enumerate(names)
    }
    with null_server(matchers=files, api_key=KEY, **settings) as server:
        yield server.until_ready()
