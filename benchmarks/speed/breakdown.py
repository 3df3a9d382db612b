"""Where the time of a training step and of a scoring pass goes: torch's profiler, operators grouped by what they do.

    python benchmarks/speed/breakdown.py --pairs benchmarks/quality/pairs/banking77_faq/test.parquet

Writes results/breakdown.json. A share is of the operators' own time, so that the pieces make 1; the profiler itself slows
down what is many and small, which makes the pieces beside the products look larger than they are.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import gemm
from ours import PLAIN, merged_matcher, settings
from processes import about_this_run
from workload import BATCH, SCORE_BATCH, SEED, Task, read_task

RESULTS = Path(__file__).parent / "results"
STEPS = 4
PIECES = {
    "matrix products": ("aten::mm", "aten::addmm"),
    "attention": ("aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_softmax_backward_data"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "casts and copies": ("aten::copy_", "aten::cat", "aten::clone", "aten::fill_", "aten::zero_"),
    "optimiser": ("aten::_fused_adamw",),
    "elementwise": (
        "aten::mul", "aten::add", "aten::sub", "aten::div", "aten::neg", "aten::pow", "aten::mean", "aten::sum",
        "aten::rsqrt", "aten::sqrt", "aten::tanh", "aten::exp", "aten::lerp", "aten::addcmul", "aten::addcdiv",
    ),
}  # fmt: skip
REST = "all else"


def piece_of(operator: str) -> str:
    """The piece that an operator belongs to, in place (`mul_`) or not."""
    names = {operator, operator.removesuffix("_")}
    return next((piece for piece, operators in PIECES.items() if names & set(operators)), REST)


def breakdown(work: Callable[[], Any]) -> dict[str, Any]:
    """Share of each piece in the operators' own time, and FLOPs a second inside the matrix products."""
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    # Counted apart from the profiler, which recording shapes slows down by half.
    with FlopCounterMode(display=False) as counter:
        work()
    counted = counter.get_flop_counts()["Global"]
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    events = list(profiled.key_averages())
    total = sum(event.self_cpu_time_total for event in events)
    shares = dict.fromkeys([*PIECES, REST], 0.0)
    for event in events:
        shares[piece_of(event.key)] += event.self_cpu_time_total / total
    flops = counted[torch.ops.aten.mm] + counted.get(torch.ops.aten.addmm, 0)
    return {"shares": shares, "product_rate": flops / (shares["matrix products"] * total / 1e6)}


def training(task: Task) -> Callable[[], Any]:
    """STEPS steps of plain training: forward, backward, optimiser."""
    import numpy as np

    from flipkd.data.pair_table import PairTable
    from flipkd.training.batches import Collator, LengthGroupedRows
    from flipkd.training.module import DistillationModule
    from flipkd.training.run import fresh_student, run_objectives

    part = task.first(STEPS * BATCH)
    table = PairTable(left=part.left, right=part.right, label=np.array(part.label, np.int64))
    student, _ = fresh_student(config := settings(task, objectives=PLAIN))
    module = DistillationModule(student, run_objectives(config, table, table)).train()
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4, fused=True)
    lengths = student.prompt.pair_lengths(table.left, table.right)
    rows = list(LengthGroupedRows(lengths, batch_size=BATCH, seed=SEED))
    collate = Collator(student, table, return_embeddings=False)
    batches = [collate(rows[at : at + BATCH]) for at in range(0, len(rows), BATCH)]

    def steps() -> None:
        for batch in batches:
            module(**batch)["loss"].backward()
            optimiser.step()
            optimiser.zero_grad()

    return steps


def scoring(task: Task) -> Callable[[], Any]:
    """`Matcher.predict` with LoRA merged."""
    matcher = merged_matcher(task)
    part = task.first(STEPS * SCORE_BATCH)
    pairs = list(zip(part.left, part.right, strict=True))
    return lambda: matcher.predict(pairs, batch_size=SCORE_BATCH)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both and write the result."""
    from flipkd.files import write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True, help="file of labelled pairs")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    given = parser.parse_args(arguments)
    task = read_task(given.pairs, given.model)
    product = gemm(task)
    rates = []
    found: dict[str, Any] = {}
    for name, prepare in (("train_plain", training), ("score", scoring)):
        work = product(0)
        rates.append(work.flops / work.seconds)
        found[name] = breakdown(prepare(task))
        print(name, {piece: round(share, 3) for piece, share in found[name]["shares"].items()})
    command = shlex.join(["python", "benchmarks/speed/breakdown.py", *sys.argv[1:]])
    told = about_this_run() | {"command": command, "model": given.model}
    given.results.mkdir(parents=True, exist_ok=True)
    write_json(given.results / "breakdown.json", found | {"gemm": sum(rates) / len(rates)} | told)


if __name__ == "__main__":
    main()
