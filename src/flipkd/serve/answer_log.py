"""Answer log: one line of JSON for each scored pair, so that outcomes can be joined later and two versions compared."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import logging
import os
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from flipkd.errors import ResourceError
from flipkd.serve.appended_file import AppendedFile
from flipkd.serve.calls import Answers

logger = logging.getLogger(__name__)
MOST_WAITING_BYTES = 64_000_000  # about, of what waits to be written; pairs beyond are lost and counted
LINE_BYTES = 400  # about, of one pair without its texts
FIRST_FIELDS = re.compile(rb'\{"id": "[^"]*", "time": "')  # of every line
INTERVAL = 0.5  # seconds between two writes
MINUTE = 60.0
CLOSE_TIMEOUT = 5.0  # seconds to write what waits at the end
CLIENT_DIGITS = 16
SALT_BYTES = 32


class AnswerLog:
    """Writes the answers in a thread of its own; requests never wait for it, and it keeps no text unless `log_texts`."""

    def __init__(self, path: Path, *, log_texts: bool, most_bytes: int, most_files: int) -> None:
        """Open the log. Raises ResourceError when it cannot be written, before the server listens."""
        self._file = AppendedFile(path, most_bytes=most_bytes, most_files=most_files)
        self._log_texts = log_texts
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _require_log(path)
            with self._file.locked():  # several workers may start at once
                self._salt = _salt(path.with_name(f"{path.name}.salt"))
            self._file.append(b"")
        except OSError as error:
            raise ResourceError(f"--answer_log {path}: cannot be written ({error.strerror})") from None
        self.lost = 0
        """Pairs that were not logged: the disk was full, or too slow."""
        self._waiting: deque[Answers] = deque()
        self._waiting_bytes = self._reported = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._last_warning = -MINUTE
        self._thread = threading.Thread(target=self._run, name="answer log", daemon=True)
        self._thread.start()

    def add(self, answers: Answers) -> None:
        """Log the pairs of one request soon; a callback of `calls.match_pairs`."""
        if not self._log_texts:
            answers = answers._replace(pairs=[("", "")] * len(answers.pairs))  # long texts must not wait here
        size = _size(answers)
        with self._lock:
            if self._waiting_bytes + size > MOST_WAITING_BYTES:
                self.lost += len(answers.pairs)
                return
            self._waiting.append(answers)
            self._waiting_bytes += size

    def close(self) -> None:
        """Write what waits, for at most CLOSE_TIMEOUT seconds."""
        self._closing.set()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        """Write what waits, again and again; what cannot be written waits for the next time."""
        unwritten: list[Answers] = []
        while True:
            is_last = self._closing.wait(INTERVAL)
            with self._lock:
                unwritten += self._waiting
                self._waiting.clear()
            if unwritten and self._write(unwritten):
                with self._lock:
                    self._waiting_bytes -= sum(map(_size, unwritten))
                unwritten = []
            self._warn_of_lost()
            if is_last:
                return

    def _write(self, batch: list[Answers]) -> bool:
        try:
            self._file.append("".join(line for answers in batch for line in self._lines(answers)).encode())
        except OSError as error:
            self._warn("the answer log cannot be written (%s); answers go on, and their lines wait", error.strerror)
            return False
        return True

    def _warn_of_lost(self) -> None:
        message = "%d pairs are not in the answer log, since it was full"
        if self.lost > self._reported and self._warn(message, self.lost):
            self._reported = self.lost

    def _warn(self, message: str, *values: Any) -> bool:
        """Log a warning, at most one a minute of all kinds; return whether it was logged."""
        if time.monotonic() - self._last_warning < MINUTE:
            return False
        self._last_warning = time.monotonic()
        logger.warning(message, *values)
        return True

    def _lines(self, answers: Answers) -> list[str]:
        chosen = answers.chosen
        common = {
            "time": answers.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "alias": chosen.alias,
            "matcher": chosen.service.name,
            "version": chosen.version,
            "client": None if chosen.client is None else self._hashed(chosen.client),
        }
        lines = []
        for name, pair, match in zip(answers.ids, answers.pairs, answers.matches, strict=True):
            row: dict[str, Any] = {"id": name, **common, "score": match.score, "probability": match.probability}
            row["decision"] = match.decision
            if self._log_texts:
                row["text1"], row["text2"] = pair
            lines.append(json.dumps(row) + "\n")
        return lines

    def _hashed(self, client: str) -> str:
        """Hash a client's id with the salt of this log: the same client has the same hash, which cannot be guessed from ids."""
        return hmac.digest(self._salt, client.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()[:CLIENT_DIGITS]


def _size(answers: Answers) -> int:
    return sum(LINE_BYTES + len(left) + len(right) for left, right in answers.pairs)


def _require_log(path: Path) -> None:
    """Raise OSError for a file that is no answer log, since opening it would cut off what follows its last line break."""
    if not path.is_file() or not path.stat().st_size:
        return
    with open(path, "rb") as file:
        if not FIRST_FIELDS.match(file.read(LINE_BYTES)):
            raise OSError(errno.EEXIST, "it exists and is no answer log; choose another file")


def _salt(path: Path) -> bytes:
    """Read the salt of a log, or make one that only this user may read. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = path.read_bytes()
        if len(found) < SALT_BYTES:
            raise OSError(5, f"{path} holds no salt; delete it") from None
        return found
    with os.fdopen(descriptor, "wb") as file:
        salt = os.urandom(SALT_BYTES)
        file.write(salt)
    return salt
