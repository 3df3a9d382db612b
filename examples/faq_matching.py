"""FAQ matching: find the entry that answers a customer's question, or find that no entry does.

    python examples/faq_matching.py          # a few minutes on 2 CPU cores; the models come with the extra [demo]

The pairs and the FAQ are questions to a bank (flipkd.demo.bank). The steps are those of `flipkd teach`, `train`,
`calibrate`, `index` and `search`. A second call reuses the finished folders. The output of a run is at the end of this file.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import flipkd
from flipkd.command_config import CalibrateConfig, IndexConfig, SearchConfig
from flipkd.commands.calibrate import calibrate
from flipkd.commands.indexing import build
from flipkd.commands.search import search
from flipkd.config import TeachConfig, TrainConfig
from flipkd.demo.bank import bank_pairs, bank_questions

QUESTIONS = ["I can't find my card anywhere", "My transfer went to someone I don't know", "Can I bring my dog?"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as csv; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def faq_entries() -> list[dict[str, str]]:
    """One question per intent, with the name of the intent in the place of an answer."""
    first: dict[str, str] = {}
    for intent, question in bank_questions():
        if len(question.split()) > 5 and intent not in first:
            first[intent] = question
    return [{"question": question, "answer": intent} for intent, question in first.items()]


def train_matcher(folder: Path, *, encoder: str, llm: str, pairs: int, settings: dict[str, Any]) -> str:
    """Fine-tune the encoder, train the LLM with it, and return the folder of the matcher."""
    rows = bank_pairs(train=pairs, validation=pairs // 2, test=0)
    files = {f"{name}_file": write_rows(folder / f"{name}.csv", rows[name]) for name in ("train", "validation")}
    teacher = str(folder / "teacher")
    flipkd.teach(TeachConfig.check(files | {"teacher_name_or_path": encoder, "output_dir": teacher}))
    student = {"model_name_or_path": llm, "teacher": teacher, "output_dir": str(folder / "run")}
    return str(flipkd.train(TrainConfig.check(files | student | settings)))


def main(
    folder: str = "examples/output",
    *,
    encoder: str = "all-MiniLM-L6-v2",
    llm: str = "gemma-3-270m",
    pairs: int = 400,
    settings: dict[str, Any] | None = None,
    threshold: str = "precision=0.9",
) -> None:
    """Train a matcher in `folder`, index the FAQ and print the best entry for each question."""
    place = Path(folder)
    settings = {"num_train_epochs": 1} if settings is None else settings
    trained = train_matcher(place, encoder=encoder, llm=llm, pairs=pairs, settings=settings)
    matcher, faq = place / "careful", place / "faq-index"
    if not matcher.exists():  # a wrong answer costs more than none, and a person sees the doubtful questions
        validation = str(place / "validation.csv")
        calibrate(
            CalibrateConfig(
                matcher=trained,
                validation_file=validation,
                output_dir=str(matcher),
                threshold=threshold,
                review="recall=0.95",
            )
        )
    if not faq.exists():
        entries = write_rows(place / "faq.csv", faq_entries())
        encoder, kept = str(place / "teacher"), ["answer"]
        build(IndexConfig(texts=entries, encoder=encoder, text="question", keep=kept, output_dir=str(faq)))
    for question in QUESTIONS:
        [best] = search(SearchConfig(query=question, matcher=str(matcher), index=str(faq), top_k=1, candidates=10))
        print(f"{question}\n  {best['decision']:8} {best['probability']:.2f}  {best['answer']}: {best['text']}")


if __name__ == "__main__":
    main()

# Output:
#
#     I can't find my card anywhere
#       match    0.98  card_lost: I can't find my debit card anywhere, what should I do?
#     My transfer went to someone I don't know
#       match    0.96  transfer_wrong_recipient: I transferred money to the wrong account.
#     Can I bring my dog?
#       review   0.38  address_change: I've moved and need to give you my new address.
