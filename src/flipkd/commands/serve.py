"""serve: run an HTTP server for one or several matcher folders."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flipkd.command_config import ServeConfig
from flipkd.commands.served_models import read_plan
from flipkd.cores import SET_HERE, THREADS, usable_cores
from flipkd.errors import RefusedError
from flipkd.extras import require_extra
from flipkd.index import open_index
from flipkd.review.background import ReviewThread
from flipkd.review.queue import ReviewQueue
from flipkd.serve.addresses import is_loopback, read_networks
from flipkd.serve.keys import read_keys
from flipkd.serve.limits import Limits

if TYPE_CHECKING:
    from flipkd.serve.access import Access
    from flipkd.serve.answer_log import AnswerLog
    from flipkd.serve.models import Models
    from flipkd.serve.workers import Link

LIMITS = {"batch_size", "max_wait", "max_items", "max_queue", "timeout", "grace"}  # settings that `Limits` has too


def serve(config: ServeConfig, *, listening: Callable[[str], None]) -> bool:
    """Serve the matchers until SIGTERM or SIGINT; a second signal does not wait for the accepted requests.

    `listening` is a callback that gets the URL once the socket is bound, before the models are loaded. Returns True when a
    model's thread still runs for a request that was dropped: a normal exit of Python would wait for it. Raises ConfigError for
    a key file without a key, ArtefactError for a folder without a complete matcher, and RefusedError for a server or a review
    queue that other machines could use without a key, all before the server listens; then any error of loading a model.
    """
    require_extra("serve", user="flipkd serve")
    import flipkd.matcher  # noqa: F401  # once, so that a worker starts without seconds of imports
    from flipkd.serve import server
    from flipkd.serve.access import Access
    from flipkd.serve.workers import run_workers

    access = Access(
        None if config.api_key_file is None else read_keys(Path(config.api_key_file)),
        trusted_proxies=read_networks(config.trusted_proxies),
        per_minute=config.requests_per_minute,
    )
    limits = Limits(**config.model_dump(include=LIMITS))
    gc.collect()
    gc.freeze()  # workers share this memory as long as nobody writes to it, and a collection after a reload is short
    server.check_exposure(config.host, access=access, insecure=config.insecure, cors_origins=config.cors_origins)
    _check_review(config, access)
    read_plan(config, index=None).check()
    models = _models(config, limits) if config.workers == 1 else None
    with server.bound(config.host, config.port) as sock:
        listening(server.url_of(sock))
        if models is not None:
            _run(config, access, models, sock)
            return models.running_calls > 0
        work = partial(_work, config, access, limits, sock)
        run_workers(work, count=config.workers, listener=sock)
    return False


def _work(config: ServeConfig, access: Access, limits: Limits, sock: socket.socket, link: Link) -> None:
    """Serve in one of several workers, which has loaded nothing yet."""
    _share_cores(config.workers)
    _run(config, access, _models(config, limits), sock, link)


def _run(config: ServeConfig, access: Access, models: Models, sock: socket.socket, link: Link | None = None) -> None:
    """Serve in this process on a listening socket."""
    from flipkd.serve import server
    from flipkd.serve.app import create_app

    with _answer_log(config) as log, _review_thread(config) as review:
        app = create_app(
            models,
            access=access,
            loopback=is_loopback(config.host),
            cors_origins=config.cors_origins,
            on_answers=[] if log is None else [log.add],
            review=review,
        )
        server.run(app, models, sock, link=link)


def _models(config: ServeConfig, limits: Limits) -> Models:
    """Open the index and find the matchers; in each worker anew, because LanceDB's threads do not survive a fork."""
    from flipkd.serve.models import Models

    index = None if config.index is None else open_index(config.index)
    return Models(lambda: read_plan(config, index=index), limits=limits)


def _check_review(config: ServeConfig, access: Access) -> None:
    """Create the review queue; raise RefusedError where other machines could read it without a key."""
    if config.review_queue is None:
        return
    if access.keys is None and not is_loopback(config.host):
        raise RefusedError(
            f"host {config.host} can be reached from other machines, and /review shows the texts of all users; "
            "give --api_key_file, or leave --review_queue out"
        )
    ReviewQueue(config.review_queue, create=True).close()


def _review_thread(config: ServeConfig) -> AbstractContextManager[ReviewThread | None]:
    """Return a context manager of the review queue, or None without one; it is closed after the last request."""
    if config.review_queue is None:
        return nullcontext()
    queue = ReviewQueue(config.review_queue)
    return closing(ReviewThread(queue, share=config.review_sample, votes=config.review_votes))


def _answer_log(config: ServeConfig) -> AbstractContextManager[AnswerLog | None]:
    """Return a context manager of the answer log, or None without one; it is closed after the last request."""
    if config.answer_log is None:
        return nullcontext()
    from flipkd.serve.answer_log import AnswerLog

    return closing(
        AnswerLog(
            Path(config.answer_log),
            log_texts=config.log_texts,
            most_bytes=config.answer_log_bytes,
            most_files=config.answer_log_files,
        )
    )


def _share_cores(workers: int) -> None:
    """Give each worker its share of the cores, unless the user has set a number of threads."""
    import torch

    if os.environ.get(SET_HERE) or not os.environ.get(THREADS):
        torch.set_num_threads(max(1, usable_cores() // workers))
