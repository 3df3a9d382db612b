"""ModelThread: calls in order, errors of any kind, and a death that shows."""

import ctypes
import time

import pytest

from flipkd.serve.threads import ModelThread


def test_calls_run_in_order_in_one_thread():
    thread, seen = ModelThread(), []
    futures = [thread.submit(seen.append, number) for number in range(100)]
    futures[-1].result(5)
    assert seen == list(range(100))
    assert thread.submit(lambda a, b: a - b, 3, b=1).result(5) == 2
    assert not thread.is_dead
    thread.shutdown()
    thread._thread.join(5)
    assert thread.is_dead


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_of_any_kind_ends_the_call_and_not_the_thread(error):
    def fail():
        raise error

    thread = ModelThread()
    with pytest.raises(error):
        thread.submit(fail).result(5)
    assert thread.submit(lambda: 7).result(5) == 7
    assert thread.running_calls == 0
    thread.shutdown()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_model_thread_is_dead_after_its_end_and_not_before_it_began():
    thread = ModelThread()
    assert not thread.is_dead
    assert thread.submit(lambda: 7).result(5) == 7
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread._thread.ident), ctypes.py_object(SystemExit))
    lost = thread.submit(lambda: 7)
    deadline = time.monotonic() + 5
    while not thread.is_dead:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not lost.done()
