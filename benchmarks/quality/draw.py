"""Draw the pairs of protocol "small" from the full sets: the same rows on every machine.

    python benchmarks/quality/draw.py --source data --output_dir benchmarks/quality/pairs

Of each set 1,500 training pairs (all of mqp_medical), at most 1,000 validation and 2,000 test pairs, with the share of
matches of the whole, by seed 0. Columns: text_a, text_b, label. `pool.parquet` are at most 30,000 further training pairs
without their labels, where there are any, `train_10000.parquet` 10,000 training pairs, where there are so many.
docs/results.md says where the sets come from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

SETS = ("banking77_faq", "mqp_medical", "mrpc", "nfcorpus_medical", "atec_finance")
SIZES = {"train": 1500, "validation": 1000, "test": 2000}
WHOLE = {("mqp_medical", "train")}
POOL = 30_000
BUDGETS = (100, 150, 300, 1000)  # 150: about a tenth, for a weak teacher
MANY = 10_000


def draw(pairs: pd.DataFrame, size: int) -> pd.DataFrame:
    """`size` rows, or all when there are no more, with the share of matches of the whole."""
    if len(pairs) <= size:
        return pairs
    return train_test_split(pairs, train_size=size, stratify=pairs["label"], random_state=0)[0]


def main() -> None:
    """Write train, validation and test of each set, and of training also the first steps of the label budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with one folder per set")
    parser.add_argument("--output_dir", type=Path, required=True)
    arguments = parser.parse_args()
    for name in SETS:
        folder = arguments.output_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        for split, size in SIZES.items():
            pairs = pd.read_parquet(arguments.source / name / f"{split}.parquet")[["text_a", "text_b", "label"]]
            drawn = pairs if (name, split) in WHOLE else draw(pairs, size)
            drawn.to_parquet(folder / f"{split}.parquet", index=False)
            print(f"{name} {split}: {len(drawn)} of {len(pairs)} pairs, {drawn['label'].mean():.3f} matches")
            for budget in BUDGETS if split == "train" else ():
                draw(drawn, budget).to_parquet(folder / f"train_{budget}.parquet", index=False)
            if split == "train" and len(pairs) > MANY:
                draw(pairs, MANY).to_parquet(folder / f"train_{MANY}.parquet", index=False)
            rest = pairs.drop(drawn.index)[["text_a", "text_b"]]
            if split == "train" and len(rest):
                rest.sample(min(POOL, len(rest)), random_state=0).to_parquet(folder / "pool.parquet", index=False)


if __name__ == "__main__":
    main()
