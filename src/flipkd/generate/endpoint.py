"""Endpoint: chat completions of an OpenAI-compatible server, cached by content, within a budget of requests."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from flipkd.errors import ArtefactError, ConfigError, ResourceError, shorten
from flipkd.files import read_json, write_json
from flipkd.progress import bar

logger = logging.getLogger(__name__)
Messages = list[dict[str, str]]
MOST_BYTES = 2**20  # of a response
TRIES, WAIT = 4, 0.5  # of one request; seconds before the second try, doubled for each further one
RETRIED = (408, 429, 500, 502, 503, 504)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:  # the key must not reach another host
        return None


class Endpoint:
    """Client of `base_url`/chat/completions with `settings` (model, temperature, max_tokens, seed) in each request.

    A reply is stored in `cache` under the hash of its request, so that a stopped command pays for nothing twice. `budget`:
    maximum number of requests that are sent. Raises ConfigError for a URL that is not http or https.
    """

    def __init__(
        self,
        base_url: str,
        *,
        settings: dict[str, Any],
        cache: Path,
        budget: int,
        key: str | None = None,
        concurrency: int = 4,
        timeout: float = 120.0,
    ) -> None:
        _check_address(base_url)
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.settings, self.cache, self.key = settings, cache, key
        self.budget, self.concurrency, self.timeout = budget, concurrency, timeout
        self.sent, self.unsent, self.reused, self._lock = 0, 0, 0, Lock()
        self._opener = urllib.request.build_opener(_NoRedirect)

    def replies(self, requests: Sequence[Messages], *, label: str | None = None) -> list[str | None]:
        """Return the reply to each request, in their order; None once the budget is used up, and for an empty reply.

        Raises ResourceError when the server cannot be reached or refuses a request; replies before it are kept.
        """
        with bar(len(requests), label, unit="request") as shown, ThreadPoolExecutor(self.concurrency) as pool:
            try:
                return list(self._counted(pool.map(self.reply, requests), shown))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    @staticmethod
    def _counted(results: Iterator[str | None], shown: Any) -> Iterator[str | None]:
        for result in results:
            shown.update(1)
            yield result

    def reply(self, messages: Messages) -> str | None:
        """Return the reply to one request, from the cache where it has it; see `replies`."""
        body = {**self.settings, "messages": messages}
        file = self.cache / f"{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}.json"
        try:
            found = read_json(file)["reply"]
            with self._lock:
                self.reused += 1
            return str(found) or None
        except (ArtefactError, KeyError, TypeError):
            pass
        with self._lock:
            if self.sent >= self.budget:
                self.unsent += 1
                return None
            self.sent += 1
        text = self._text_of(self._post(body))
        write_json(file, {"request": body, "reply": text})
        return text or None

    def _post(self, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for left in reversed(range(TRIES)):
            try:
                with self._opener.open(request, timeout=self.timeout) as response:
                    content = self._content(response)
                break
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read1(300).decode("utf-8", "replace")
                reason = f"HTTP {error.code}: {shorten(said.replace(self.key, '***') if self.key else said, 200)}"
                if error.code not in RETRIED or not left:
                    raise ResourceError(f"{self.url}: refused the request ({reason})") from None
            except (OSError, HTTPException) as error:
                reason = str(error)
                if not left:
                    raise ResourceError(
                        f"{self.url}: cannot be reached ({reason}); start the server, then run the same command again"
                    ) from None
            logger.info("%s: %s; trying again", self.url, reason)
            time.sleep(WAIT * 2 ** (TRIES - 1 - left))
        if len(content) > MOST_BYTES:
            raise ResourceError(f"{self.url}: a reply of more than {MOST_BYTES:,} bytes; lower max_tokens")
        return content

    def _content(self, response: Any) -> bytes:
        """Read a response of at most MOST_BYTES bytes. Raises TimeoutError, also for one that arrives byte by byte."""
        content, end = b"", time.monotonic() + self.timeout
        while len(content) <= MOST_BYTES and (part := response.read1(MOST_BYTES)):
            content += part
            if time.monotonic() > end:
                raise TimeoutError(f"no complete reply within {self.timeout:g} seconds")
        return content

    def _text_of(self, content: bytes) -> str:
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ResourceError(
                f"{self.url}: the reply is no chat completion: {shorten(content[:200].decode('utf-8', 'replace'))}; give the "
                "base_url of an OpenAI-compatible server"
            ) from None
        return text if isinstance(text, str) else ""


def _check_address(base_url: str) -> None:
    """Raise ConfigError for an address that is not http or https, or that a request cannot be sent to."""
    example = "give an address such as http://127.0.0.1:8080/v1"
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0)
        (parts.hostname or ".").encode("idna")  # raises for a part of the name that is empty or too long
    except ValueError:
        usable = False
    if not usable or not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        raise ConfigError(f"base_url={shorten(base_url)}: {example}")
    if "@" in parts.netloc:
        raise ConfigError(f"base_url names a user; {example}, and the key in a file, with --api_key_file")
