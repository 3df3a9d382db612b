"""Loss and gradients of every objective over the same rows, in one process or shared by several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ROWS = 12
FACTS = {"theta_pos": 0.5, "theta_neg": 0.0, "teacher_slope": 3.0, "teacher_intercept": -1.0}
MIXED = "all of the default, with a queue"
DRAWN = "rkd_angle that draws"


def losses_and_gradients(base: str, size: int, only: Sequence[str] = (), sharded: bool = False) -> dict[str, Any]:
    """Objective -> (loss, parameter -> gradient) of `ROWS` rows, shared by `size` ranks or read in their order by one.

    `only` these objectives, () for all; with `sharded` each rank keeps a part of the base.
    """
    import numpy as np
    import torch
    import torch.distributed as dist
    from tiny import make_table, randomise, student_config
    from torch.nn.parallel import DistributedDataParallel

    from flipkd import ranks
    from flipkd.config import TrainConfig
    from flipkd.objectives import OBJECTIVES
    from flipkd.student.loading import new_student
    from flipkd.student.sharded import shard_base
    from flipkd.training.batches import Collator
    from flipkd.training.losses import resolve_objectives
    from flipkd.training.module import DistillationModule

    student, _ = new_student(student_config(base))
    randomise(student)
    if sharded:
        shard_base(student, device="cpu")
    table = make_table()
    default = TrainConfig.model_fields["objectives"].default
    chosen = {name: {name: 1.0} for name in OBJECTIVES}
    chosen |= {MIXED: default, DRAWN: {"rkd_angle": {"max_comparisons": 100}}}
    found = {}
    for name, objectives in {name: chosen[name] for name in only or chosen}.items():
        terms = resolve_objectives(objectives, teacher_facts=FACTS)
        module = DistillationModule(student, terms, queue_size=ROWS if name == MIXED else 0, table=table).train()
        both = module.reads_both_orders
        collate = Collator(student, table, return_embeddings=True, return_lists=True, both_orders=both)
        collate.list_of = np.arange(len(table)) // ROWS
        answers = any("answers" in term.needs for term in terms)
        if sharded:
            module._ddp_params_and_buffers_to_ignore = [n for n, p in module.named_parameters() if not p.requires_grad]
        runs = DistributedDataParallel(module, find_unused_parameters=not answers) if dist.is_initialized() else module
        for start in (0, ROWS) if name == MIXED else (0,):
            numbers = list(range(start, start + ROWS))
            if both:
                numbers = [number for row in numbers[: ROWS // 2] for number in (row, row + len(table))]
            shares = [numbers[rank::size] for rank in range(size)]
            rows = shares[ranks.rank()] if ranks.launched() else [row for share in shares for row in share]
            module.zero_grad()
            # what a rank has drawn for itself must not matter
            torch.manual_seed(1000 + ranks.rank() if ranks.launched() else module.shared_seed)
            loss = runs(**collate(rows))["loss"]
            loss.backward()
        gradients = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None and p.grad.any()}
        found[name] = (torch.tensor(float(loss.detach())), gradients)
    return found


def gathered_batch(rows: int) -> dict[str, Any]:
    """Return the result of `gather_batches` for `rows` rows per rank with the value of the rank, and the gradients."""
    import torch

    from flipkd import ranks
    from flipkd.objectives import MatchBatch
    from flipkd.training.gather import gather_batches

    rank = ranks.rank()
    own = torch.full((rows, 3), float(rank), requires_grad=True)
    batch = MatchBatch(
        answers=own[:, :2] * 1.0,
        label=torch.arange(rows) + 10 * rank,
        left=own * 1.0,
        right=own * 2.0,
        teacher_left=torch.full((rows, 5), rank + 0.5),
        teacher_right=torch.full((rows, 5), rank + 0.25),
        teacher_pair=torch.full((rows,), float(rank)),
        left_id=torch.arange(rows) + 100 * rank,
        right_id=torch.arange(rows) + 100 * rank + 50,
        pair_id=torch.arange(rows) + 100 * rank,
        list_id=torch.arange(rows) + 100 * rank,
        layer_states=torch.full((rows, 2, 3), float(rank)),
    )
    whole = gather_batches(batch)
    weights = torch.arange(1.0, 1 + len(whole.left))
    (whole.left.sum(1) * weights).sum().backward()
    return {name: getattr(whole, name).detach() for name in whole.present} | {
        "gradient": own.grad,
        "has_gradient": torch.tensor([float(whole.teacher_left.requires_grad), float(whole.right.requires_grad)]),
    }


def before_and_after_sharding(cases: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Case -> loss, gradients and scores of a student of these settings, before and after sharding, and bytes of its base."""
    import torch
    from tiny import make_table, randomise, student_config
    from torch.distributed.tensor import DTensor

    from flipkd.student.loading import new_student
    from flipkd.student.memory import shape_of, training_memory
    from flipkd.student.scoring import score_pairs
    from flipkd.student.sharded import shard_base
    from flipkd.training.batches import Collator
    from flipkd.training.losses import resolve_objectives
    from flipkd.training.module import DistillationModule

    table = make_table(16)
    terms = resolve_objectives({"answer_cross_entropy": 1.0, "in_batch_kl": 1.0}, teacher_facts=FACTS)

    def results(student: Any, again: bool) -> dict[str, Any]:
        module = DistillationModule(student, terms, table=table)
        if again:
            module.activation_checkpointing_enable()
        scores = score_pairs(student, table.left, table.right, return_embeddings=True)
        module.train()
        loss = module(**Collator(student, table, return_embeddings=True)(list(range(8))))["loss"]
        loss.backward()
        gradients = {n: p.grad for n, p in module.named_parameters() if p.requires_grad}
        module.zero_grad()
        return gradients | {"loss": loss.detach(), "scores": torch.tensor([scores.answer, scores.cosine])}

    found = {}
    for case in cases:
        settings = {name: value for name, value in case.items() if name != "again"}
        config = student_config(**settings)
        student, _ = new_student(config)
        before = results(randomise(student), case["again"])
        shard_base(student, device="cpu")
        base = [p for p in student.parameters() if not p.requires_grad and p.device.type != "meta"]
        assert all(isinstance(parameter, DTensor) for parameter in base)
        complete = sum(parameter.numel() * parameter.element_size() for parameter in base)
        part = sum(parameter.to_local().numel() * parameter.element_size() for parameter in base)
        shape = shape_of(student.language_model.config, config)
        expected = training_memory(shape, tokens=0, dtype=case["dtype"], shards=2).weights
        found[str(case)] = {
            "before": before,
            "after": results(student, case["again"]),
            "bytes": torch.tensor([complete, part, expected]),
        }
    return found
