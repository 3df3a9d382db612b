"""A signal stops a run behind a step, with a checkpoint; a second one, and signals outside a run, do what they always did."""

import os
import signal
import threading

import pytest
from transformers import TrainerControl, TrainerState

from flipkd import ranks
from flipkd.training.stop import GracefulStop


def step_end(stop, *, step=3, last=10):
    control = TrainerControl()
    stop.on_step_end(None, TrainerState(global_step=step, max_steps=last), control)
    return control


@pytest.fixture(autouse=True)
def own_handlers():
    """Handlers that a test can tell from others, and that let it live."""
    caught = []
    before = {
        number: signal.signal(number, lambda n, _: caught.append(n)) for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield caught
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_save_and_stop_behind_the_step(number, caplog, own_handlers):
    stop = GracefulStop()
    with stop.handle_signals():
        assert not step_end(stop).should_training_stop
        os.kill(os.getpid(), number)
        control = step_end(stop)
    assert (control.should_save, control.should_training_stop) == (True, True)
    assert (stop.requested, stop.all_requested) == (True, True)
    assert "send the signal again to stop at once" in caplog.text
    assert own_handlers == []


@pytest.mark.scenario("T4")
def test_handle_signals_does_not_catch_a_second_signal(own_handlers):
    with GracefulStop().handle_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert own_handlers == []
        os.kill(os.getpid(), signal.SIGTERM)
    assert own_handlers == [signal.SIGTERM]


def test_handle_signals_restores_the_handlers(own_handlers):
    stop = GracefulStop()
    with pytest.raises(ZeroDivisionError), stop.handle_signals():
        raise ZeroDivisionError
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert own_handlers == [signal.SIGTERM, signal.SIGINT]
    assert not stop.requested


def test_behind_the_last_step_there_is_nothing_to_stop():
    stop = GracefulStop()
    stop.requested = True
    control = step_end(stop, step=10, last=10)
    assert (control.should_save, control.should_training_stop) == (False, False)


def test_handle_signals_does_nothing_in_another_thread(own_handlers):
    stop, failed = GracefulStop(), []

    def run():
        try:
            with stop.handle_signals():
                os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert (failed, own_handlers, stop.requested) == ([], [signal.SIGTERM], False)


def test_a_rank_stops_when_another_was_asked(monkeypatch):
    told = iter([False, True])
    monkeypatch.setattr(ranks.Vote, "cast", lambda _self, _asked: next(told))
    stop = GracefulStop()
    stop.requested = True
    assert not step_end(stop).should_training_stop, "the others do not know of it yet"
    stop.requested = False
    assert step_end(stop).should_training_stop


def test_handle_signals_leaves_a_handler_that_python_did_not_set(monkeypatch):
    """R or a web server in C around Python: its handler is None here, which cannot be put back."""
    given, real = [], signal.signal

    def set_handler(number, handler):
        given.append(number)
        before = real(number, handler)
        return None if number == signal.SIGINT else before

    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGINT else signal.SIG_DFL)
    monkeypatch.setattr(signal, "signal", set_handler)
    with GracefulStop().handle_signals():
        pass
    assert given == [signal.SIGTERM] * 2
