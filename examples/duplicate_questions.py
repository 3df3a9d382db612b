"""Duplicate questions: find the pairs in a list of questions that ask the same.

    python examples/duplicate_questions.py   # seconds, after examples/faq_matching.py has trained the matcher

Duplicates have no direction, so both orders of a pair are scored (`symmetric`). The encoder finds candidates, the matcher
decides. Without the encoder, n questions would make n (n - 1) / 2 pairs. The output of a run is at the end of this file.
"""

from __future__ import annotations

from pathlib import Path

from flipkd import Index, Matcher
from flipkd.demo.bank import bank_pairs
from flipkd.stages.calibrate import calibrate
from flipkd.stages.search import stored_vectors

NEIGHBOURS = 3


def candidates(questions: list[str], *, teacher: str) -> list[tuple[str, str]]:
    """Each question with its nearest others, every pair once."""
    vectors = stored_vectors(teacher, questions)
    index = Index([{"text": question} for question in questions], vectors, encoder={"folder": teacher})
    found = {
        (min(row, other), max(row, other))
        for row, vector in enumerate(vectors)
        for other, _ in index.nearest(vector, top_k=NEIGHBOURS + 1)
        if other != row
    }
    return [(questions[row], questions[other]) for row, other in sorted(found)]


def main(folder: str = "examples/output", *, count: int = 60) -> None:
    """Print the duplicates among `count` questions that training has not seen, the surest first."""
    place = Path(folder)
    symmetric = place / "symmetric"
    if not symmetric.exists():
        calibrate(str(place / "run"), str(place / "validation.csv"), output_dir=str(symmetric), symmetric=True)
    matcher = Matcher.from_pretrained(symmetric)
    test = bank_pairs(train=0, validation=0, test=count)["test"]
    questions = list(dict.fromkeys(str(row[side]) for row in test for side in ("text1", "text2")))[:count]
    pairs = candidates(questions, teacher=str(place / "teacher"))
    scores = matcher.predict(pairs)
    decisions = matcher.decisions(scores)
    probabilities = matcher.calibration.apply(scores)
    print(f"{len(questions)} questions, {len(pairs)} candidate pairs, {decisions.count('match')} called duplicates")
    for row in (-scores).argsort()[:5]:
        left, right = pairs[row]
        print(f"  {decisions[row]:8} {probabilities[row]:.2f}  {left}  =  {right}")


if __name__ == "__main__":
    main()
