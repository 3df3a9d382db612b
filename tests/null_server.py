"""A server with a null matcher whose behaviour the texts control; argv = JSON of settings.

`review` is the lower bound of a review band, `kept` gives the index more columns, `queue` is a review queue, whose sample is
`share` and whose pairs need `votes` labels. `lance` is the folder of an index of LanceDB with vectors of width 9. `matchers` maps
names to JSON files, each read again at a reload: version, offset (added to each score), loading (seconds), broken (a loading
error), dies (`always`: the thread ends soon after loading).
A pair's score is the number in its first text. `boom` raises, `panic` raises a BaseException, `nan` raises NumbersError, `die`
ends the thread soon after, `slow` takes half a second, and `wait S` as a second text makes the batch S seconds long. After
loading, the process exits with SPIED when it opens a connection or a file named canary. SIGUSR1 prints its number of tasks.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from flipkd.batching import check_wanted
from flipkd.errors import ArtefactError, NumbersError, PeerError
from flipkd.evaluate.calibration import Calibration
from flipkd.index import Index, open_index
from flipkd.matcher import Matcher
from flipkd.review.background import ReviewThread
from flipkd.review.queue import ReviewQueue
from flipkd.serve import server
from flipkd.serve.access import Access
from flipkd.serve.addresses import is_loopback
from flipkd.serve.answer_log import AnswerLog
from flipkd.serve.app import create_app
from flipkd.serve.keys import Key, Keys
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.models import Found, Models, Plan
from flipkd.serve.workers import run_workers
from flipkd.text import truncate_text

SPIED = 98


class Panic(BaseException):
    """Like the panic of a Rust library, which is not an Exception."""


class NullMatcher:
    """The methods of a Matcher that the service uses."""

    threshold, review_threshold, teacher = 100.0, None, None
    calibration = Calibration.identity()
    scored_by: ClassVar = {"student": 0, "teacher": 0}
    contract = SimpleNamespace(
        base_model_name_or_path="null", reading="separate", symmetric=False, max_text_length=128
    )

    def __init__(self, version="r1", offset=0.0):
        self.fingerprint, self.offset = version, offset
        self.student = SimpleNamespace(
            prompt=SimpleNamespace(
                text_ids=lambda texts: [([1] * len(t.split()), "long" in t) for t in texts],
                clip_text=lambda text, least: (truncate_text(text, 2048), len(text) > 2048),
            )
        )

    def predict(self, pairs, *, batch_size=32):
        time.sleep(settings.pop("cold", 0.0))
        for word, _ in pairs:
            check_wanted()
            if word == "die":
                end_this_thread()
            if word == "boom":
                raise RuntimeError("secret of the house")
            if word == "panic":
                raise Panic
            if word == "nan":
                raise NumbersError("1 of 1 scores are not finite")
            if word == "slow":
                time.sleep(0.5)
        time.sleep(max(float(text[5:]) for _, text in [("", "wait 0"), *pairs] if text.startswith("wait ")))
        numbers = [float(word) if word.isascii() and word.isdigit() else 0.0 for word, _ in pairs]
        return np.array(numbers, np.float32) + np.float32(self.offset)

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


def end_this_thread():
    """End the calling thread between two of its calls, as nothing in Python does."""

    def end():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(number), ctypes.py_object(SystemExit))

    number = threading.get_ident()
    threading.Timer(0.4, end).start()


def find(path):
    """Find the version that a JSON file describes at present."""
    with open(path) as file:
        found = json.load(file)

    def load_version():
        time.sleep(found.get("loading", 0.0))
        if found.get("broken"):
            raise ArtefactError(f"{path}: is broken")
        if found.get("dies") == "always":
            end_this_thread()
        return Loaded(NullMatcher(found["version"], found.get("offset", 0.0)))

    return Found(found["version"], load_version)


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
    if folder := settings.get("lance"):
        index = open_index(folder)
    return Loaded(NullMatcher(), index, lambda texts: np.eye(9, dtype=np.float32)[[len(t) % 9 for t in texts]])


logging.basicConfig()
logging.getLogger("flipkd.progress").setLevel(logging.INFO)
settings = json.loads(sys.argv[1])
if most := settings.pop("open_files", None):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
outside = {name: settings.pop(name) for name in ("host", "insecure", "cors_origins", "workers") if name in settings}
key, several = settings.pop("api_key", None), settings.pop("matchers", None)
keys = settings.pop("keys", [] if key is None else [{"name": "default", "secret": key}])
if keys:
    outside["access"] = Access(Keys([Key(**key) for key in keys]))
log = settings.pop("answer_log", None)
if log is not None:
    log = AnswerLog(Path(log.pop("path")), **({"log_texts": False, "most_bytes": 10**8, "most_files": 3} | log))
    outside["on_answers"] = [log.add]
aliases, default = settings.pop("aliases", {}), settings.pop("default", None)
if several is None:
    plan = Plan({"null": lambda: Found("r1", load)}, strict=False)
else:
    plan = Plan({name: partial(find, path) for name, path in several.items()}, aliases, default)
kinds = ("loading", "cold", "broken", "dies", "kept", "entries", "lance")
held = {name: settings.pop(name) for name in kinds if name in settings}
NullMatcher.review_threshold = settings.pop("review", None)
queue = {name: settings.pop(name) for name in ("queue", "share", "votes", "most_pages") if name in settings}
review = None
if "queue" in queue:
    opened = ReviewQueue(queue["queue"], create=True)
    if "most_pages" in queue:  # SQLite then fails as on a full disk
        opened.connection.execute(f"PRAGMA max_page_count = {queue['most_pages']}")
    review = ReviewThread(opened, share=queue.get("share", 0.0), votes=queue.get("votes", 1))
models = Models(lambda: plan, limits=Limits(**settings))
settings = held
if settings.get("dies") == "pairs":
    models.services["null"].queues["pairs"]._next_batch = lambda: (_ for _ in ()).throw(Panic())
if hasattr(signal, "SIGUSR1"):
    signal.signal(signal.SIGUSR1, lambda *_: print(len(asyncio.all_tasks()), flush=True))
try:
    host, workers = outside.pop("host", "127.0.0.1"), outside.pop("workers", None)
    access, origins = outside.pop("access", Access()), outside.pop("cors_origins", ())
    server.check_exposure(host, access=access, insecure=outside.pop("insecure", False), cors_origins=origins)

    def work(link=None):
        own = models if link is None else Models(models.read_plan, limits=models.limits)
        loopback = is_loopback(host)
        app = create_app(own, access=access, loopback=loopback, cors_origins=origins, review=review, **outside)
        server.run(app, own, sock, link=link)

    with server.bound(host, 0) as sock:
        print(server.url_of(sock), flush=True)
        run_workers(work, count=workers, listener=sock) if workers else work()
    if log is not None:
        log.close()
    if models.running_calls:
        os._exit(0)
except (NumbersError, PeerError) as error:
    sys.exit(error.exit_code)
