"""Demo: a comparison on the built-in pairs of bank questions, offline, with models from installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flipkd.commands.match_rows import to_csv
from flipkd.comparison.compare import compare
from flipkd.config import CompareConfig
from flipkd.demo.bank import bank_pairs
from flipkd.extras import require_extra
from flipkd.files import write_text

SIZES = {"train": 800, "validation": 300, "test": 500}
EPOCHS = 1  # half of the default, so that the demo is short


def demo(output_dir: str = "demo", *, seed: int = 0) -> tuple[list[dict[str, Any]], Path]:
    """Run the default systems of `compare` on the demo pairs; return the results and the matcher folder."""
    require_extra("demo", user="flipkd demo")
    folder = Path(output_dir)
    files = {}
    for name, rows in bank_pairs(**SIZES, seed=seed).items():
        path = write_text(folder / "data" / f"{name}.csv", to_csv(rows, guard=False))
        files[f"{name}_file"] = str(path)
    settings = {"output_dir": output_dir, "data": "bank", "seeds": [seed], "train": {"num_train_epochs": EPOCHS}}
    config = CompareConfig.check(files | settings)
    results = compare(config)
    flipped = next(result for result in results if result["system"] == "flipped")
    return results, folder / flipped["matcher"]
