"""What the mean over both orders of a pair is worth, on the validation pairs of finished comparisons.

    python benchmarks/quality/both_orders.py comparison/banking77_faq comparison/mrpc

For `plain` and `flipped` of seed 0, by the score that each decides by: F1 at the best threshold and average precision of
these pairs. Writes both_orders.json, a set at a time; a set that stands there is not scored again.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from flipkd import Matcher, read_pairs
from flipkd.evaluate import measure

HERE = Path(__file__).parent
FOUND = HERE / "both_orders.json"
SYSTEMS = ("plain", "flipped")


def main(folders: list[Path]) -> None:
    """Measure the sets that are not measured yet."""
    found: dict[str, Any] = json.loads(FOUND.read_text(encoding="utf-8"))["sets"] if FOUND.exists() else {}
    for folder in folders:
        if folder.name in found:
            continue
        found[folder.name] = {system: measured(folder, system) for system in SYSTEMS}
        command = shlex.join(["python", "benchmarks/quality/both_orders.py", *map(str, folders)])
        FOUND.write_text(json.dumps({"command": command, "sets": found}, indent=2) + "\n", encoding="utf-8")
        print(f"{folder.name}: {found[folder.name]}")


def measured(folder: Path, system: str) -> dict[str, dict[str, float]]:
    """F1 and AP of the pairs as given, turned round, and by the mean of both."""
    name = f"{folder.name}-{system}-seed0.json"
    result = json.loads((folder / "results" / name).read_text(encoding="utf-8"))
    pairs = read_pairs(str(HERE / "pairs" / folder.name / "validation.parquet"))
    given = list(zip(pairs["text1"][:], pairs["text2"][:], strict=True))
    matcher = Matcher.from_pretrained(folder / result["matcher"])
    scores = {"given": matcher.predict(given), "turned": matcher.predict([(b, a) for a, b in given])}
    scores["both"] = (scores["given"] + scores["turned"]) / 2
    labels = np.array(pairs["label"][:])
    figures = {order: measure(score, labels) for order, score in scores.items()}
    return {order: {m: f[m] for m in ("f1", "average_precision")} for order, f in figures.items()}


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
