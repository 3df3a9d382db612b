"""Headless Chromium for tests and for docs/screenshots.py, controlled through a pipe by its DevTools protocol.

Chromium is the program that FLIPKD_CHROMIUM names, or chromium on PATH.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = os.environ.get("FLIPKD_CHROMIUM") or shutil.which("chromium")
NO_CHROMIUM = "no chromium on PATH; FLIPKD_CHROMIUM may name the program"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
TIMEOUT = 60.0  # seconds
# Chromium reads commands from descriptor 3 and writes to 4.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), " ": (32, " ")}
CONTROL = 2


class Page:
    """One page of the browser. `console` has what its scripts and its security policy wrote there."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._buffer, self._number = send, receive, b"", 0
        self._session: str | None = None
        self.console: list[str] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (answer := self._next_message()).get("id") != self._number:
            self._record(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._receive, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found

    def _record(self, event: dict[str, Any]) -> None:
        if event["method"] == "Log.entryAdded":
            self.console.append(event["params"]["entry"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled":
            self.console.append(str(event["params"]["args"]))
        elif event["method"] == "Runtime.exceptionThrown":
            self.console.append(str(event["params"]["exceptionDetails"]))

    def open(self, address: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open an address in a window of this size."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Page.navigate", url=address)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript in the page, awaited if it is a promise."""
        found = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Wait until an expression is true."""
        deadline = time.monotonic() + TIMEOUT
        while not (found := self.run(condition)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition}; the page shows: {self.run('document.body.innerText')}")
            time.sleep(0.05)
        return found

    def type(self, text: str) -> None:
        """Type a text into the element that has the focus."""
        self.command("Input.insertText", text=text)

    def press(self, key: str, *, control: bool = False) -> None:
        """Press one of KEYS, or a letter."""
        code, text = KEYS.get(key, (ord(key[0].upper()), key))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": CONTROL if control else 0}
        self.command("Input.dispatchKeyEvent", type="keyDown", text="" if control else text, **common)
        self.command("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self) -> bytes:
        """Return a PNG of the window."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium with an empty profile."""
    if CHROMIUM is None:
        raise RuntimeError(NO_CHROMIUM)
    to_browser, to_client = os.pipe(), os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser[0], to_client[1])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [sys.executable, "-c", START, *map(str, ends), CHROMIUM, *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (*ends, to_browser[0], to_client[1]):
            os.close(end)
        try:
            yield Page(to_browser[1], to_client[0])
        finally:
            process.terminate()
            process.wait(20)
            os.close(to_browser[1])
            os.close(to_client[0])
