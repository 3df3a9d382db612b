"""Duplicate questions: find the pairs in a list of questions that ask the same.

    python examples/duplicate_questions.py   # a minute or two, after examples/faq_matching.py has trained the matcher

Duplicates have no direction, so both orders of a pair are scored (`symmetric`). The encoder finds candidates, the matcher
decides. Without the encoder, n questions would make n (n - 1) / 2 pairs. The threshold reaches a precision of 0.9 on the
validation pairs, but not here: the encoder finds all candidates close, unlike the validation pairs, half of which match.
Calibrate on judged candidates of your own, and train on more than 400 pairs. The output of a run is at the end of this file.
"""

from __future__ import annotations

from pathlib import Path

from flipkd import Index, Matcher
from flipkd.command_config import CalibrateConfig
from flipkd.commands.calibrate import calibrate
from flipkd.commands.search import stored_vectors
from flipkd.demo.bank import bank_pairs, bank_questions

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


def main(folder: str = "examples/output", *, count: int = 60, threshold: str = "precision=0.9") -> None:
    """Print the duplicates among `count` questions that training has not seen, the surest first."""
    place = Path(folder)
    symmetric = place / "symmetric"
    if not symmetric.exists():
        validation = str(place / "validation.csv")
        calibrate(
            CalibrateConfig(
                matcher=str(place / "run"),
                validation_file=validation,
                output_dir=str(symmetric),
                threshold=threshold,
                symmetric=True,
            )
        )
    matcher = Matcher.from_pretrained(symmetric)
    unseen = {str(row[side]) for row in bank_pairs(train=0, validation=0)["test"] for side in ("text1", "text2")}
    intent_of = {question: intent for intent, question in bank_questions() if question in unseen}
    questions = list(intent_of)[:count]  # in the order of the file, so that duplicates are among them
    pairs = candidates(questions, teacher=str(place / "teacher"))
    scores = matcher.predict(pairs)
    decisions = matcher.decisions(scores)
    probabilities = matcher.calibration.apply(scores)
    called = [pair for pair, decision in zip(pairs, decisions, strict=True) if decision == "match"]
    right = sum(intent_of[left] == intent_of[other] for left, other in called)
    print(
        f"{len(questions)} questions, {len(pairs)} candidate pairs, {len(called)} called duplicates, {right} of them are"
    )
    for row in (-scores).argsort()[:5]:
        left, other = pairs[row]
        print(f"  {decisions[row]:8} {probabilities[row]:.2f}  {left}  =  {other}")


if __name__ == "__main__":
    main()

# Output:
#
#     60 questions, 134 candidate pairs, 88 called duplicates, 29 of them are
#       match    0.99  change pin  =  pin modification
#       match    0.98  Where in the app is the PIN displayed?  =  Where can I set a new PIN, in the app or only at a cash machine?
#       match    0.96  lost card  =  broken card
#       match    0.95  How can I see my PIN again?  =  change pin
#       match    0.95  refund fee  =  When will the fee that you promised to return be credited?
