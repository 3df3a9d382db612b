"""Graphed steps: few shapes change no number, graphs are recorded for shapes that return, and a step reads no device value."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import FAMILY_AND_READING, randomise
from torch.utils._python_dispatch import TorchDispatchMode

from flipkd.student.attention import PACKED
from flipkd.student.rows import LENGTH_STEP, PADDING, Row, pack
from flipkd.training.batches import Collator
from flipkd.training.graphs import GraphedStep
from flipkd.training.losses import resolve_objectives
from flipkd.training.module import DistillationModule

FLIPPED = {"answer_cross_entropy": 1.0, "pairwise_pref_kl": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0}
FACTS = {"theta_pos": 0.5, "theta_neg": 0.0}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_pack_with_buckets_keeps_every_token_once(lengths, others):
    rows = [Row([7] * n, [1] * n, list(range(n))) for n in lengths]
    exact, rounded = pack(rows), pack(rows, padding_id=3, pad_to_buckets=True)
    total, extra = len(exact["scatter"]), len(rounded["scatter"]) - len(exact["scatter"])
    assert 0 <= extra <= max(512, total // 8)
    assert rounded["segment"].shape[1] % LENGTH_STEP == 0
    assert torch.equal(rounded["last"], exact["last"])
    assert torch.equal(rounded["input_ids"][0, :total], exact["input_ids"][0])
    assert (rounded["input_ids"][0, total:] == 3).all()
    assert (rounded["segment"][len(rows) :] == PADDING).all()
    places = rounded["scatter"]
    assert len(set(places.tolist())) == len(places)
    assert torch.equal(rounded["gather"][places], torch.arange(len(places)))
    assert rounded["gather"].max() < len(places)
    if len(lengths) == len(others):
        again = pack([Row([7] * n, [1] * n, list(range(n))) for n in others], pad_to_buckets=True)
        same = again["scatter"].shape == rounded["scatter"].shape and max(others) // 32 == max(lengths) // 32
        if same and max(others) % 32 and max(lengths) % 32:
            assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in rounded.items()}


def build(make_student, table, *, reading="joint", family="llama", pad_to_buckets=False, **settings):
    student, _ = make_student(family, reading=reading, attn_implementation=PACKED, **settings)
    module = DistillationModule(randomise(student), resolve_objectives(FLIPPED, teacher_facts=FACTS)).train()
    student.pad_to_buckets = pad_to_buckets
    return module, Collator(student, table, return_embeddings=True)


def gradients(module, batch):
    module.zero_grad()
    loss = module(**batch)["loss"]
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_pad_to_buckets_changes_neither_loss_nor_gradients(make_student, table, reading, family):
    found = []
    for pad_to_buckets in (False, True):
        module, collator = build(make_student, table, reading=reading, family=family, pad_to_buckets=pad_to_buckets)
        batch = collator(list(range(12)))
        found.append((batch["segment"].shape, *gradients(module, batch)))
    (exact_shape, expected_loss, expected), (shape, loss, ours) = found
    assert shape > exact_shape
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-4)


class Rerun:
    """What a CUDA graph does, by running the step again: outputs and gradients stay the same tensors."""

    made: ClassVar[list] = []

    def __init__(self, step, batch, parameters, pool):
        self.step, self.parameters = step, parameters
        self.outputs, self.gradients = self._run(batch)
        Rerun.made.append(tuple(batch[name].shape for name in sorted(batch)))

    def _run(self, batch):
        outputs = self.step(dict(batch))
        gradients = torch.autograd.grad(outputs[0], self.parameters, allow_unused=True)
        return tuple(output.detach().clone() for output in outputs), gradients

    def replay(self, batch):
        outputs, gradients = self._run(batch)
        for own, new in zip((*self.outputs, *self.gradients), (*outputs, *gradients), strict=True):
            if own is not None:
                own.copy_(new)


@pytest.fixture(autouse=True)
def nothing_made():
    Rerun.made.clear()


def test_graphed_step_records_a_shape_that_returns_and_replays_it():
    weight, unused = torch.nn.Parameter(torch.tensor(2.0)), torch.nn.Parameter(torch.tensor(1.0))
    forgotten = []
    step = GraphedStep(
        lambda batch: (batch["x"].sum() * weight,),
        [weight, unused],
        record=Rerun,
        release=lambda: forgotten.append(1),
    )
    for size in (3, 4, 3, 3, 4, 5):
        loss = step({"x": torch.arange(float(size))})[0]
        weight.grad = None
        (loss / 2).backward()
        assert float(loss.detach()) == 2.0 * sum(range(size))
        assert float(weight.grad) == sum(range(size)) / 2
        assert unused.grad is None
    assert Rerun.made == [((3,),), ((4,),)], "5 was there once only"
    assert forgotten


def test_graphed_step_accumulates_gradients():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    step = GraphedStep(lambda batch: (batch["x"].sum() * weight**2,), [weight], record=Rerun)
    total = 0.0
    for value in (1.0, 2.0, 3.0):
        step({"x": torch.tensor([value])})[0].backward()
        total += 2 * 2.0 * value
        assert float(weight.grad) == total


def test_graphed_step_outputs_outlive_the_next_replay():
    weight = torch.nn.Parameter(torch.tensor(1.0))
    step = GraphedStep(lambda batch: (batch["x"].sum() * weight, 2 * batch["x"]), [weight], record=Rerun)
    outputs = [step({"x": torch.tensor([value])}) for value in (1.0, 2.0, 3.0)]
    assert [float(loss.detach()) for loss, _ in outputs] == [1.0, 2.0, 3.0]
    assert [double.tolist() for _, double in outputs] == [[2.0], [4.0], [6.0]]


def test_a_step_that_cannot_be_recorded_runs_as_usual(caplog):
    def record(*_):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    step = GraphedStep(lambda batch: (batch["x"] + 1,), [], record=record)
    for _ in range(4):
        assert float(step({"x": torch.tensor(1.0)})[0]) == 2.0
    assert [r.getMessage() for r in caplog.records] == [
        "CUDA graphs are off: a step cannot be recorded (operation not permitted when stream is capturing)"
    ]


def test_graphs_are_recorded_up_to_their_share_of_the_memory():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    sizes = iter([100, 130, 130, 180, 180])  # bytes held before and after each recording
    step = GraphedStep(
        lambda batch: (batch["x"].sum() * weight,), [weight], record=Rerun, reserved=lambda: next(sizes), limit=70
    )
    for size in (2, 2, 3, 3, 4, 4, 4, 2, 3):
        assert float(step({"x": torch.ones(size)})[0].detach()) == 2.0 * size
    assert Rerun.made == [((2,),), ((3,),)], "80 bytes are over the limit"


def test_graphs_are_dropped_where_an_eager_step_runs_out_of_memory(caplog):
    weight = torch.nn.Parameter(torch.tensor(2.0))
    made, broken = [], []

    def record(*arguments):
        made.append(Rerun(*arguments))
        return made[-1]

    def run(batch):
        if len(batch["x"]) == 5 and not broken:
            broken.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return (batch["x"].sum() * weight,)

    step = GraphedStep(run, [weight], record=record)
    for size in (2, 2, 5, 2, 2, 5, 5):
        assert float(step({"x": torch.ones(size)})[0].detach()) == 2.0 * size
    assert len(made) == 1, "nothing is recorded after the step that ran out of memory"
    assert [r.getMessage() for r in caplog.records] == [
        "CUDA graphs are off: they leave too little memory for a step without a graph"
    ]


def test_memory_that_runs_out_without_graphs_is_an_error():
    def run(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        GraphedStep(run, [], record=Rerun)({"x": torch.ones(1)})


def test_graphed_step_records_the_same_values_as_an_eager_step(make_student, table):
    module, collator = build(make_student, table)
    batch = collator(list(range(12)))
    expected = gradients(module, batch)
    usual = module.recorder
    usual.close(1, torch.tensor(1.0))
    module.recorder = type(usual)(usual.names)
    trainable = [p for p in module.parameters() if p.requires_grad]
    module.graphed = GraphedStep(module.step, trainable, record=Rerun)
    for _ in range(3):
        loss, found = gradients(module, batch)
    assert len(Rerun.made) == 1
    assert loss == expected[0]
    assert all(torch.equal(found[name], gradient) for name, gradient in expected[1].items())
    module.recorder.close(1, torch.tensor(1.0))
    assert module.recorder.drain() == usual.drain()
    assert module.eval()(**batch)["logits"].shape == (12, 2), "a measurement is never replayed"


class NoHostReads(TorchDispatchMode):
    """Fails on what would make the host wait for a GPU: values that are read, shapes that depend on values."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean = name in ("index", "index_put", "index_put_", "_unsafe_index") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if boolean or any(name.startswith(read) for read in self.READS):
            raise AssertionError(f"{func} reads a device value")
        return func(*args, **(kwargs or {}))


def test_no_host_reads_catches_reads():
    x = torch.ones(3)
    for read in (
        lambda: x.sum().item(),
        lambda: float(x[0]),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: bool(x.any()),
    ):
        with pytest.raises(AssertionError, match="reads a device value"), NoHostReads():
            read()


@pytest.mark.parametrize("reading", ["joint", "separate", "blocked"])
def test_trainer_step_reads_no_device_value(make_config, table, tmp_path, monkeypatch, reading):
    """Forward, backward, sentinels and optimizer of real Trainer steps, between two logs."""
    from flipkd.training import trainer
    from flipkd.training.run import fresh_student, run_objectives, trainer_arguments

    config = make_config(reading=reading, lora_dropout=0.0, attn_implementation=PACKED, logging_steps=50)
    student, _ = fresh_student(config)
    module = DistillationModule(student, run_objectives(config, table, table))
    steps, inner = [], trainer.DistillationTrainer.training_step

    def copied(*_):
        raise AssertionError("a step copies a tensor to the host")

    def watched(self, *given):
        steps.append(1)
        with pytest.MonkeyPatch.context() as patch, NoHostReads():
            for name in ("tolist", "numpy", "cpu"):
                patch.setattr(torch.Tensor, name, copied)
            return inner(self, *given)

    monkeypatch.setattr(trainer.DistillationTrainer, "training_step", watched)
    trainer.fit(module, table, output_dir=tmp_path / "run", arguments=trainer_arguments(config) | {"max_steps": 4})
    assert len(steps) == 4
