"""What a step leaves on the device is read once for many steps, and comes out as plain numbers in the steps' order."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flipkd.objectives import MatchBatch
from flipkd.training.record import COLUMNS, Recorder, measure_batch

READS = ("_local_scalar_dense", "is_nonzero")


class Reads(TorchDispatchMode):
    """Counts operations by which a value of a tensor reaches Python."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.__name__.split(".")[0] in READS
        return function(*args, **(kwargs or {}))


def values(loss, *objectives, spread=1.0, largest=2.0, finite=True):
    return torch.tensor([loss, spread, largest, float(finite), *objectives])


def finite_pairs(*finite):
    return torch.tensor(finite)


def test_recorder_makes_one_report_of_several_batches():
    recorder = Recorder(["a", "b"])
    recorder.batch(values(1.0, 0.25, 4.0, spread=0.5, largest=3.0), finite_pairs(True), None)
    recorder.batch(values(2.0, 0.75, 2.0, spread=0.75, largest=1.0), finite_pairs(True), None)
    recorder.close(7, torch.tensor(1.0))
    recorder.batch(values(0.0, 0.0, 0.0), finite_pairs(True), None)
    recorder.close(8, torch.tensor(1.0))
    recorder.read()
    seventh, eighth = recorder.unseen
    assert (seventh.step, eighth.step) == (7, 8)
    assert seventh.loss == 1.5
    assert seventh.objectives == {"a": 0.5, "b": 3.0}
    assert (seventh.score_spread, seventh.largest_logit) == (0.75, 3.0)
    assert seventh.finite_rows
    assert seventh.finite_gradients
    assert (seventh.any_loss, eighth.any_loss) == (True, False)


def test_recorder_any_loss_is_true_for_one_batch_with_a_loss():
    recorder = Recorder([])
    for loss in (1.0, -1.0):
        recorder.batch(values(loss), finite_pairs(True), None)
    recorder.close(1, torch.tensor(1.0))
    recorder.read()
    assert recorder.unseen[0].loss == 0
    assert recorder.unseen[0].any_loss


def test_recorder_reads_each_step_once():
    recorder = Recorder(["a"])
    for step in (1, 2):
        recorder.batch(values(1.0, float(step)), finite_pairs(True), None)
        recorder.close(step, torch.tensor(1.0))
        recorder.read()
        recorder.read()
    assert [report.step for report in recorder.unseen] == [1, 2]


def test_recorder_drain_is_the_mean_since_the_last_call():
    recorder = Recorder(["a"])
    recorder.batch(values(1.0, 1.0), finite_pairs(True), None)
    recorder.batch(values(1.0, 3.0), finite_pairs(True), None)  # of the same step, whose mean is 2
    recorder.close(1, torch.tensor(1.0))
    recorder.read()  # as the sentinels do before a log
    recorder.batch(values(1.0, 8.0), finite_pairs(True), None)
    recorder.close(2, torch.tensor(1.0))
    assert recorder.drain() == {"a": 5.0}
    recorder.batch(values(1.0, 7.0), finite_pairs(True), None)
    recorder.close(3, torch.tensor(1.0))
    assert recorder.drain() == {"a": 7.0}
    assert recorder.drain() == {}


@pytest.mark.parametrize(
    "loss, norm, fine", [(1.0, 1.0, True), (math.nan, 1.0, False), (1.0, math.nan, False), (1.0, math.inf, False)]
)
def test_recorder_close_returns_if_loss_and_gradients_are_finite(loss, norm, fine):
    recorder = Recorder([])
    recorder.batch(values(1.0), finite_pairs(True), None)
    recorder.batch(values(loss), finite_pairs(True), None)
    told = recorder.close(1, torch.tensor(norm))
    assert told.dtype == torch.bool
    assert bool(told) is fine
    recorder.read()
    assert recorder.unseen[0].finite_gradients is math.isfinite(norm)
    assert math.isfinite(recorder.unseen[0].loss) is math.isfinite(loss)


def test_recorder_names_bad_rows_if_known():
    recorder = Recorder([])
    recorder.batch(values(1.0, finite=False), finite_pairs(True, False), torch.tensor([4, 9]))
    recorder.batch(values(1.0, finite=False), finite_pairs(False, True), torch.tensor([3, 5]))
    recorder.batch(values(1.0, finite=False), finite_pairs(False, True), torch.tensor([6]))  # a rank's own of two
    recorder.batch(values(1.0, finite=False), finite_pairs(False, True), None)
    recorder.close(1, torch.tensor(1.0))
    recorder.read()
    assert not recorder.unseen[0].finite_rows
    assert recorder.unseen[0].bad_rows == [3, 9]


def test_recorder_reads_no_device_value_before_read():
    recorder = Recorder(["a"])
    with Reads() as reads:
        for step in range(5):
            recorder.batch(values(1.0, 1.0), finite_pairs(True, True), torch.tensor([0, 1]))
            recorder.close(step, torch.tensor(1.0))
    assert reads.count == 0
    with Reads() as reads:
        bool(recorder.close(5, torch.tensor(1.0)))
    assert reads.count == 1, "a read must be counted for this to mean anything"


def pairs(answers=None, left=None, right=None):
    count = len(answers if answers is not None else left)
    return MatchBatch(answers=answers, label=torch.zeros(count, dtype=torch.long), left=left, right=right)


def test_measure_batch_returns_columns_then_objectives():
    answers = torch.tensor([[0.0, 2.0], [1.0, -4.0], [0.0, 0.0]], requires_grad=True)
    parts = {"a": torch.tensor(0.25), "b": torch.tensor(0.5)}
    kept, finite = measure_batch(answers.sum(), parts, pairs(answers))
    named = dict(zip((*COLUMNS, *parts), kept.tolist(), strict=True))
    assert named == {"loss": -1.0, "score_spread": 7.0, "largest_logit": 4.0, "finite_rows": 1.0, "a": 0.25, "b": 0.5}
    assert kept.dtype == torch.float32
    assert not kept.requires_grad
    assert finite.tolist() == [True, True, True]


def test_measure_batch_finds_pairs_that_are_not_finite():
    answers, left = torch.zeros(3, 2), torch.ones(3, 4)
    right = torch.ones(5, 4)  # two more of earlier steps, of which no pair is
    answers[0, 1], left[2, 3], right[4, 0] = math.nan, math.inf, math.nan
    kept, finite = measure_batch(torch.tensor(1.0), {}, pairs(answers, left, right))
    assert finite.tolist() == [False, True, False]
    assert dict(zip(COLUMNS, kept.tolist(), strict=True))["finite_rows"] == 0


def test_measure_batch_without_answers():
    kept, finite = measure_batch(torch.tensor(1.0), {}, pairs(left=torch.ones(2, 4), right=torch.ones(2, 4)))
    assert kept.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert finite.all()
