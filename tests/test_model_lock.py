"""ModelLock: one thread at a time, and a forked process that would hang says so."""

from __future__ import annotations

import os
import signal

import numpy as np
import torch
from threads import numbers_inside

from flipkd.errors import UsageError
from flipkd.matcher import Matcher
from flipkd.model_lock import ModelLock


def forked(work) -> int:
    """Return the exit code of a forked process that runs `work`; negative if it had to be killed after 20 seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_model_lock_admits_one_thread_at_a_time():
    lock = ModelLock()

    def run(body):
        with lock:
            body()

    assert numbers_inside(run, threads=5) == [1] * 5


def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent():
    lock = ModelLock()

    def enter():
        torch.set_num_threads(1)
        with lock:
            pass

    with lock:
        assert forked(enter) == 0
    with lock:
        pass


def test_a_matcher_in_a_forked_process_scores_with_one_thread_and_names_more(with_teacher):
    matcher = Matcher.from_pretrained(with_teacher)
    pairs = [("where is my transfer", "my card was stolen")]
    scores, vectors = matcher.predict(pairs), matcher.encode(["where is my transfer"])

    def one_thread():
        torch.set_num_threads(1)
        assert np.array_equal(matcher.predict(pairs), scores)
        assert np.array_equal(matcher.encode(["where is my transfer"]), vectors)

    def two_threads():
        torch.set_num_threads(2)
        calls = (matcher.predict, matcher.teacher_scores, lambda pairs: matcher.encode(pairs[0]))
        for call in calls:
            try:
                call(pairs)
            except UsageError as error:
                assert "load the model in each process" in str(error)  # noqa: PT017 - pytest reports to the parent only
            else:
                raise AssertionError

    assert forked(one_thread) == 0
    assert forked(two_threads) == 0
