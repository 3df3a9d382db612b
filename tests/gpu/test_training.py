"""Training on a device: finite for rows of any length, no wait for the GPU, and a step with NaN changes no weight."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from device_runs import mixed_table, module_of
from devices import each_device, on_gpu
from tiny import FAMILIES, make_table

from flipkd.data.pair_table import PairTable
from flipkd.errors import NumbersError
from flipkd.student.rows import to_device
from flipkd.training import trainer
from flipkd.training.batches import Collator
from flipkd.training.health_checks import HealthChecks

READINGS = ["joint", "separate", "blocked"]
MARK = "§"  # in no other text
PLAIN = {"answer_cross_entropy": 1.0}


@each_device
@pytest.mark.parametrize("reading", READINGS)
def test_training_over_long_and_short_rows_stays_finite(student_on, train, device, reading):
    """With the default settings in bfloat16; on the CPU only four steps, to run the test itself."""
    steps = 30 if device == "cuda" else 4
    student = student_on(device, reading=reading, dtype="bfloat16", max_text_length=150)
    lengths = student.prompt.pair_lengths(mixed_table().left, mixed_table().right)
    assert max(lengths) > 4 * min(lengths)
    done = train(module_of(student), mixed_table(), "run", graphs=device == "cuda", steps=steps)
    assert len(done.losses) == steps
    assert all(math.isfinite(loss) for loss in done.losses)
    assert all(gradients.isfinite().all() for gradients in done.gradients)
    assert all(tensor.isfinite().all() for tensor in done.weights.values())


@on_gpu
@pytest.mark.parametrize("family,reading", [*zip(FAMILIES, READINGS, strict=True)])
def test_training_step_never_waits_for_the_gpu(student_on, family, reading):
    student = student_on("cuda", family, reading=reading, dtype="bfloat16")
    module, table = module_of(student).train(), make_table(16)
    collate, sentinels = Collator(student, table, return_embeddings=True), HealthChecks(module)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], fused=True)
    batch = to_device(collate(list(range(16))), student.device)

    def step(number: int) -> None:
        module(**batch)["loss"].backward()
        sentinels.on_pre_optimizer_step(None, SimpleNamespace(global_step=number), None, optimizer=optimizer)

    step(0)  # kernels are loaded on first use
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            batch["label"].sum().item()  # the debug mode detects a read
        step(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
def test_train_sends_batches_to_the_gpu_without_a_wait(student_on, train, monkeypatch):
    """Pageable copies waited for the step before: twelve times a step."""
    found, prepare = [], trainer.prepare_data_loader

    def watched(*arguments, **settings):
        loader = prepare(*arguments, **settings)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found.extend(batch["input_ids"].device.type for batch in loader)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return loader

    monkeypatch.setattr(trainer, "prepare_data_loader", watched)
    train(module_of(student_on("cuda")), make_table(), "run", graphs=False, steps=1)
    assert set(found) == {"cuda"}


def marked_table() -> PairTable:
    """The learnable pairs; the text of row 0 has a token that is in no other text."""
    table = make_table()
    return PairTable(left=[f"{MARK} {table.left[0]}", *table.left[1:]], right=table.right, label=table.label)


@each_device
@pytest.mark.parametrize("graphs", [True, False])
def test_health_checks_stop_a_step_that_is_not_finite(student_on, train, device, graphs):
    student = student_on(device)
    ids = student.prompt.tokenizer(MARK, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        student.language_model.get_input_embeddings().weight[ids] = float("nan")
    module = module_of(student, PLAIN)
    rows, before, forward = [], {}, module.forward

    def recorded(**batch):
        rows.append(batch["row"].tolist())
        before.update({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return forward(**batch)

    module.forward = recorded
    with pytest.raises(NumbersError, match="not finite") as caught:
        train(module, marked_table(), "run", graphs=graphs, steps=6, seed=8)
    assert 0 in rows[-1]
    assert len(rows) >= 4, "a graph is replayed after this many steps"
    message = str(caught.value)
    assert message.startswith(
        f"step {len(rows)}: the loss is not finite (answer_cross_entropy nan), in training rows 0"
    )
    assert "that step changed no weight" in message
    after = module.state_dict()
    assert after
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
