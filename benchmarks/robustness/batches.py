"""How much the other pairs of a batch change a pair's score.

    python benchmarks/robustness/batches.py --matcher demo/runs/flipped-.../matcher --pairs demo/data/test.csv --count 60

Scores the first `--count` pairs one by one (`exact`) and in batches of each size in BATCHES, in the order of the file and
in reverse. Prints the largest change of a score and of a probability for each batch size.
"""

from __future__ import annotations

import argparse

import numpy as np

from flipkd import Matcher, read_pairs

BATCHES = (2, 8, 32)


def changes(exact: Matcher, batched: Matcher, pairs: list[tuple[str, str]]) -> dict[int, tuple[float, float]]:
    """Batch size -> largest change of a score and of a probability against the scores of single pairs."""
    alone = exact.predict(pairs)
    found = {}
    for size in BATCHES:
        orders = [batched.predict(pairs, batch_size=size), batched.predict(pairs[::-1], batch_size=size)[::-1]]
        probabilities = [batched.calibration.apply(scores) - batched.calibration.apply(alone) for scores in orders]
        found[size] = (float(np.abs(np.array(orders) - alone).max()), float(np.abs(probabilities).max()))
    return found


def main() -> None:
    """Measure one matcher on one file of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matcher", required=True, help="matcher or run folder")
    parser.add_argument("--base_model", help="where its base model is now")
    parser.add_argument("--pairs", required=True, help="file of pairs")
    parser.add_argument("--count", type=int, default=60, help="number of pairs, from the start of the file")
    given = parser.parse_args()
    table = read_pairs(given.pairs)[: given.count]
    exact, batched = (
        Matcher.from_pretrained(given.matcher, base_model=given.base_model, exact=exact) for exact in (True, False)
    )
    found = changes(exact, batched, list(zip(table["text1"], table["text2"], strict=True)))
    for size, (score, probability) in found.items():
        print(f"batches of {size}: score {score:.5f}, probability {probability:.5f}")


if __name__ == "__main__":
    main()
