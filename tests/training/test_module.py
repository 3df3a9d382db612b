"""DistillationModule: who gets gradients, what weight 0 skips, what is saved."""

import numpy as np
import pytest
import torch
from tiny import FAMILY_AND_READING, randomise

from flipkd.objectives import OBJECTIVES
from flipkd.student.rows import last_positions
from flipkd.training.batches import Collator
from flipkd.training.losses import resolve_objectives
from flipkd.training.module import DistillationModule

FLIPPED = {"answer_cross_entropy": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0}


def drained(module):
    """Means of the objectives of one step, as the log shows them."""
    module.recorder.close(1, torch.tensor(1.0))
    return module.recorder.drain()


def build(make_student, table, objectives, **settings):
    student, _ = make_student(**settings)
    module = DistillationModule(
        student, resolve_objectives(objectives, teacher_facts={"theta_pos": 0.5, "theta_neg": 0.0})
    )
    return module, Collator(student, table, return_embeddings=module.return_embeddings)(list(range(12)))


@pytest.mark.parametrize("reading", ["joint", "separate", "blocked"])
def test_module_has_gradients_for_adapters_only(make_student, table, reading):
    module, batch = build(make_student, table, FLIPPED, reading=reading)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    batch["teacher_left"].requires_grad_(True)
    out = module(**batch)
    out["loss"].backward()
    assert batch["teacher_left"].grad is None
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name
    assert out["similarity"].shape == (12, 12)
    assert out["logits"].shape == (12, 2)


@pytest.mark.parametrize("cached", [False, True])
def test_zero_grad_removes_or_zeroes_the_gradients(make_student, table, cached):
    module, batch = build(make_student, table, FLIPPED)
    if cached:
        module.cache_parameters()
    module(**batch)["loss"].backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    module.zero_grad(set_to_none=False)
    assert [p.grad.abs().sum().item() for p in trained] == [0] * len(trained)
    module.zero_grad()
    assert all(p.grad is None for p in trained)


def test_cached_parameters_are_looked_up_once(make_student, table):
    module, _ = build(make_student, table, FLIPPED)
    count = len(list(module.parameters()))
    module.later = torch.nn.Linear(2, 1)
    assert len(list(module.parameters())) == count + 2
    module.cache_parameters()
    module.after = torch.nn.Linear(2, 1)
    assert len(list(module.parameters())) == count + 2


def test_loss_is_the_weighted_sum_of_its_parts(make_student, table):
    weights = {"answer_cross_entropy": 0.5, "margin_hinge": 2.0, "in_batch_kl": 0.25}
    module, batch = build(make_student, table, weights)
    loss = float(module(**batch)["loss"].detach())
    parts = drained(module)
    assert loss == pytest.approx(sum(weights[name] * parts[name] for name in weights), rel=1e-6)
    assert drained(module) == {}


def test_module_without_objectives_of_vectors_skips_the_readout(make_student, table):
    module, batch = build(make_student, table, {"answer_cross_entropy": 1.0, "margin_hinge": 0, "in_batch_kl": 0})
    assert not module.return_embeddings
    assert "teacher_left" not in batch
    assert "similarity" not in module(**batch)


def test_module_needs_no_vectors_for_a_teacher_of_the_answer(make_student, table):
    module, batch = build(make_student, table, {"answer_cross_entropy": 1.0, "bernoulli_kd": 1.0})
    with_vectors, whole = build(make_student, table, {"bernoulli_kd": 1.0, "margin_hinge": 1e-9})
    assert not module.return_embeddings
    assert with_vectors.return_embeddings
    module(**batch)
    with_vectors(**whole)
    assert drained(module)["bernoulli_kd"] == pytest.approx(drained(with_vectors)["bernoulli_kd"], rel=1e-5)


def test_module_with_teacher_weights_of_0_equals_plain_lora(make_student, table):
    """The same three steps by hand on the peft model alone, from the same beginning."""
    module, batch = build(make_student, table, {"answer_cross_entropy": 1.0, "margin_hinge": 0, "in_batch_kl": 0})
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        module(**batch)["loss"].backward()
        optimiser.step()
    student, _ = make_student()
    model = student.model
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        student.adapters.copy()
        hidden = (
            model.get_base_model()
            .model(
                input_ids=batch["input_ids"],
                position_ids=batch["position_ids"],
                use_cache=False,
            )
            .last_hidden_state[range(12), last_positions(batch["segment"])]
        )
        logits = hidden @ model.get_base_model().lm_head.weight[list(student.prompt.label_ids)].T
        torch.nn.functional.cross_entropy(logits, batch["label"]).backward()
        optimiser.step()
    ours = dict(module.student.model.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, ours[name]), name


def test_state_dict_has_the_adapters_and_load_state_dict_restores_them(make_student, table):
    module, _ = build(make_student, table, FLIPPED)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert state
    assert all("lora_" in name for name in state)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    module.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    state.popitem()
    with pytest.raises(ValueError, match="not those of this run"):
        module.load_state_dict(state)


def test_distillation_module_shows_objectives_float32_under_autocast(make_student, table):
    seen = []
    module, batch = build(make_student, table, FLIPPED, dtype="bfloat16")
    inner = module._loss
    module._loss = lambda match: (seen.append(match), inner(match))[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(**batch)
    match = seen[0]
    for name in ("answers", "left", "right", "teacher_grid"):
        assert getattr(match, name).dtype == torch.float32, name
    exact = batch["teacher_left"] @ batch["teacher_right"].T
    assert torch.equal(match.teacher_grid, exact)


def test_the_queue_adds_columns_of_earlier_steps_and_is_kept_in_checkpoints(make_student, table):
    student, _ = make_student()
    objectives = resolve_objectives(FLIPPED, teacher_facts={"theta_pos": 0.5, "theta_neg": 0.0})
    module = DistillationModule(student, objectives, queue_size=20).train()
    collator = Collator(student, table, return_embeddings=True)
    first, second, third = (collator(list(range(start, start + 8))) for start in (0, 8, 16))
    assert module(**first)["similarity"].shape == (8, 8)
    assert module(**second)["similarity"].shape == (8, 16)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    out = module(**third)
    assert out["similarity"].shape == (8, 24)
    with torch.no_grad():
        reading = student(first)
    torch.testing.assert_close(module.queue.state()["queue.right"][16:], reading.right[:4])
    out["loss"].backward()
    assert not module.queue.state()["queue.right"].requires_grad
    other = DistillationModule(student, objectives, queue_size=20).train()
    other.load_state_dict(state)
    torch.testing.assert_close(other(**third)["loss"], out["loss"], rtol=0, atol=0)
    assert module.eval()(**third)["similarity"].shape == (8, 8), "a measurement is of its own batch alone"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_alone_with_a_queue(make_student, table, objective):
    student, _ = make_student(dtype="bfloat16")
    randomise(student)
    terms = resolve_objectives({objective: 1.0}, teacher_facts={"theta_pos": 0.5, "theta_neg": 0.0})
    module = DistillationModule(student, terms, queue_size=20, table=table).train()
    both = module.reads_both_orders
    collator = Collator(
        student, table, return_embeddings=module.return_embeddings, return_lists=not both, both_orders=both
    )
    collator.list_of = np.arange(len(table)) // 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(**collator(list(range(8))))
        loss = module(**collator([*range(8, 16), *range(56, 60)] if both else list(range(8, 16))))["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert any(p.grad is not None and p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("off_diagonal", ["both", "negatives", "none"])
def test_settings_of_the_margin_losses_train_with_a_queue(make_student, table, off_diagonal):
    repaired = {"apart": True, "active": True, "trust": True, "spread": 0.2, "off_diagonal": off_diagonal}
    objectives = {"margin_hinge": repaired, "margin_angular": {"own_range": True, "off_diagonal": off_diagonal}}
    facts = {"theta_pos": 0.5, "theta_neg": 0.0, "theta_off_pos": 0.9, "theta_off_neg": 0.4, "teacher_std": 0.3}
    student, _ = make_student(dtype="bfloat16")
    terms = resolve_objectives(objectives, teacher_facts=facts | {"teacher_low": -0.3, "teacher_high": 0.8})
    module = DistillationModule(randomise(student), terms, queue_size=20).train()
    collator = Collator(student, table, return_embeddings=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(**collator(list(range(8))))
        loss = module(**collator(list(range(8, 16))))["loss"]
    loss.backward()
    assert loss.isfinite()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def test_module_without_a_queue_keeps_no_columns(make_student, table):
    module, batch = build(make_student, table, FLIPPED)
    module.train()(**batch)
    assert not [name for name in module.state_dict() if name.startswith("queue")]


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_a_head_that_is_read_once_gives_the_loss_and_gradients_of_rows_read_whole(
    make_student, table, family, reading
):
    module, whole = build(make_student, table, FLIPPED, family=family, reading=reading)
    randomise(module.student)
    module.train()
    assert module.student.can_cache_head
    short = Collator(module.student, table, return_embeddings=True, drop_head=True)(list(range(12)))
    assert short["input_ids"].shape[1] == whole["input_ids"].shape[1] - len(module.student.prompt.head)

    def gradients(batch):
        module.zero_grad()
        loss = module(**batch)["loss"]
        loss.backward()
        found = {name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad}
        return float(loss.detach()), found

    expected_loss, expected = gradients(whole)
    module.drop_head = True
    loss, found = gradients(short)
    assert loss == pytest.approx(expected_loss, abs=1e-4)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4 * float(gradient.abs().max()), rtol=1e-3)
