"""A server with a null matcher whose behaviour the texts control; argv = JSON of settings.

`review` is the lower bound of a review band, `kept` gives the index more columns, `queue` is a review queue, whose sample is
`share` and whose pairs need `votes` labels.
A pair's score is the number in its first text. `boom` raises, `panic` raises a BaseException, `nan` raises NumbersError,
`slow` takes half a second, and `wait S` as a second text makes the batch S seconds long. After loading, the process exits
with SPIED when it opens a connection or a file named canary. SIGUSR1 prints its number of tasks.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from flipkd.errors import NumbersError
from flipkd.evaluate.calibration import Calibration
from flipkd.index import Index
from flipkd.matcher import Matcher
from flipkd.review.background import ReviewThread
from flipkd.review.queue import ReviewQueue
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.server import serve
from flipkd.serve.service import Service
from flipkd.text import truncate_text

SPIED = 98


class Panic(BaseException):
    """Like the panic of a Rust library, which is not an Exception."""


class NullMatcher:
    """The methods of a Matcher that the service uses."""

    threshold, review_threshold = 100.0, None
    calibration = Calibration.identity()
    scored_by: ClassVar = {"student": 0, "teacher": 0}
    contract = SimpleNamespace(
        base_model_name_or_path="null", reading="separate", symmetric=False, max_text_length=128
    )

    def __init__(self):
        self.student = SimpleNamespace(
            prompt=SimpleNamespace(
                text_ids=lambda texts: [([1] * len(t.split()), "long" in t) for t in texts],
                clip_text=lambda text: (truncate_text(text, 2048), len(text) > 2048),
            )
        )

    def predict(self, pairs, *, batch_size=32):
        time.sleep(settings.pop("cold", 0.0))
        for word, _ in pairs:
            if word == "boom":
                raise RuntimeError("secret of the house")
            if word == "panic":
                raise Panic
            if word == "nan":
                raise NumbersError("1 of 1 scores are not finite")
            if word == "slow":
                time.sleep(0.5)
        time.sleep(max(float(text[5:]) for _, text in [("", "wait 0"), *pairs] if text.startswith("wait ")))
        return np.array([float(word) if word.isascii() and word.isdigit() else 0.0 for word, _ in pairs], np.float32)

    def decisions(self, scores):
        review = self.threshold if self.review_threshold is None else self.review_threshold
        return ["match" if s >= self.threshold else "review" if s >= review else "no_match" for s in scores]

    judge = Matcher.judge

    def encode(self, texts, *, batch_size):
        return np.array([[float(len(text)), 0.0] for text in texts], np.float32)


def spy(event, arguments):
    reads = event == "open" and "canary" in str(arguments[0])
    if reads or event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        os._exit(SPIED)


def load():
    sys.addaudithook(spy)
    time.sleep(settings.pop("loading", 0.0))
    if settings.get("dies") == "loading":
        raise Panic
    if settings.pop("broken", False):
        raise NumbersError("the model is broken")
    kept = settings.get("kept", False)
    entries = [
        {"text": f"{n}", "id": n} | ({"similarity_of": n, "answer": f"Answer {n}"} if kept else {})
        for n in range(settings.pop("entries", 9))
    ]
    index = Index(entries, np.eye(len(entries), dtype=np.float32), encoder={})
    return Loaded(NullMatcher(), index, lambda texts: np.eye(9, dtype=np.float32)[[len(t) % 9 for t in texts]])


settings = json.loads(sys.argv[1])
if most := settings.pop("open_files", None):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
outside = {name: settings.pop(name) for name in ("host", "api_key", "insecure", "cors_origins") if name in settings}
kinds = ("loading", "cold", "broken", "dies", "kept", "entries")
held = {name: settings.pop(name) for name in kinds if name in settings}
NullMatcher.review_threshold = settings.pop("review", None)
queue = {name: settings.pop(name) for name in ("queue", "share", "votes", "most_pages") if name in settings}
review = None
if "queue" in queue:
    opened = ReviewQueue(queue["queue"], create=True)
    if "most_pages" in queue:  # SQLite then fails as on a full disk
        opened.connection.execute(f"PRAGMA max_page_count = {queue['most_pages']}")
    review = ReviewThread(opened, share=queue.get("share", 0.0), votes=queue.get("votes", 1))
service = Service(load, limits=Limits(**settings), name="null", revision="r1", review=review)
settings = held
if settings.get("dies") == "pairs":
    service.queues["pairs"]._next_batch = lambda: (_ for _ in ()).throw(Panic())
if hasattr(signal, "SIGUSR1"):
    signal.signal(signal.SIGUSR1, lambda *_: print(len(asyncio.all_tasks()), flush=True))
try:
    if serve(service, **({"host": "127.0.0.1", "port": 0} | outside), listening=lambda url: print(url, flush=True)):
        os._exit(0)
except NumbersError as error:
    sys.exit(error.exit_code)
