"""One contender in a process of its own: a count of pairs per line on stdin, a line of JSON per repetition on stdout.

    echo 16 | python benchmarks/speed/worker.py train_plain --pairs FILE.parquet --model gemma-3-270m
    {"seconds": ..., "pairs": 16, "tokens": ..., "flops": ..., "scores": null, "peak_memory_bytes": ..., "threads": 2}

The first line says {"ready": true}, or {"missing": "what"} where the contender cannot run here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from functools import cache
from typing import Any

from workload import MissingError, read_task

from flipkd.comparison.measuring import peak_memory, reset_peak_memory
from flipkd.student import loading
from flipkd.tables import pick

CONTENDERS = {
    "gemm": "machine:gemm",
    "train_plain": "ours:train_plain",
    "train_flipped_joint": "ours:train_flipped_joint",
    "train_flipped_separate": "ours:train_flipped_separate",
    "train_trl": "peers:train_trl",
    "train_sentence_transformers": "peers:train_sentence_transformers",
    "score": "ours:score",
    "score_int8": "ours:score_int8",
    "score_sentence_transformers": "peers:score_sentence_transformers",
    "score_generate": "peers:score_generate",
    "score_llama_cpp": "llama_cpp_peer:score_llama_cpp",
    "rank": "ours:rank",
    "rank_joint": "ours:rank_joint",
    "rank_long": "growth:rank_long",
    "rank_joint_long": "growth:rank_joint_long",
    "rank_sentence_transformers": "ranking_peers:rank_sentence_transformers",
    "rank_generate": "ranking_peers:rank_generate",
    "rank_llama_cpp": "ranking_peers:rank_llama_cpp",
    "rank_cross_encoder": "ranking_peers:rank_cross_encoder",
    "memory_10k": "growth:memory",
    "memory_100k": "growth:memory",
    "train_compiled": "ours:train_compiled",
    "score_double": "ours:score",
    "score_short": "growth:score_short",
    "score_long": "growth:score_long",
    "train_short": "growth:train_short",
    "train_long": "growth:train_long",
    "startup_match": "growth:startup_match",
    "startup_load": "growth:startup_load",
}


def repeat(name: str, *, pairs: str, model: str, channel: Any) -> None:
    """Load the contender, then one repetition per line of stdin."""

    def say(value: dict[str, Any]) -> None:
        channel.write(json.dumps(value) + "\n")
        channel.flush()

    # A fresh student for each turn needs no fresh tokenizer, whose loading is seconds outside the time.
    setattr(loading, "load_tokenizer", cache(loading.load_tokenizer))  # noqa: B010  mypy knows functions as constants
    try:
        repetition = pick(CONTENDERS, name, what="contender")(read_task(pairs, model))
    except MissingError as missing:
        say({"missing": str(missing)})
        return
    import torch

    say({"ready": True})
    for line in sys.stdin:
        reset_peak_memory()
        work = repetition(int(line))
        say(asdict(work) | {"peak_memory_bytes": peak_memory(), "threads": torch.get_num_threads()})


def main() -> None:
    """Keep stdout for our lines: what libraries print goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--pairs", required=True, help="file of labelled pairs")
    parser.add_argument("--model", default="gemma-3-270m")
    given = parser.parse_args()
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    repeat(given.name, pairs=given.pairs, model=given.model, channel=channel)


if __name__ == "__main__":
    main()
