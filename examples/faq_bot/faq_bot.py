"""FAQ bot: from a CSV of questions and answers to a served, searched, reviewed and retrained FAQ.

    python examples/faq_bot/faq_bot.py              # a few minutes on 2 CPU cores; the models come with the extra [demo]
    python examples/faq_bot/faq_bot.py --by_hand    # you label the doubtful pairs yourself, in a browser

faq.csv has the entries of a public library's FAQ, asked.csv what readers asked, with the entry that answers it; empty: none does.
The first matcher learns from the part `train`. It then serves the part `new`: pairs of which it is not sure go to a review queue,
people label them, and a second matcher learns from those labels too. The part `test` compares both. The steps are those of
`flipkd teach`, `train`, `calibrate`, `index`, `serve` and `review`. A second call reuses the finished folders. The output of a
run is at the end of this file.
"""

from __future__ import annotations

import csv
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import flipkd
from flipkd.command_config import CalibrateConfig, IndexConfig, ReviewPairsConfig, ReviewStatsConfig
from flipkd.commands.calibrate import calibrate
from flipkd.commands.indexing import build
from flipkd.commands.review import queue_stats, stats_text, write_labelled
from flipkd.commands.search import encoder_of
from flipkd.config import TeachConfig, TrainConfig

HERE = Path(__file__).parent
SHOWN = "My card has disappeared yesterday"
WRONG_PER_RIGHT = 2  # entries that do not answer a question, beside the one that does, in the pairs to learn from


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a csv file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as csv; returns the path."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def pairs_of(asked: list[dict[str, str]], entries: list[str]) -> list[dict[str, Any]]:
    """Pair each question with the entry that answers it, and with the entries that share most letters with it and do not."""

    def letters(text: str) -> set[str]:
        """Sequences of three letters."""
        return {text.lower()[start : start + 3] for start in range(len(text) - 2)}

    rows = []
    for row in asked:
        near = sorted(entries, key=lambda entry: -len(letters(entry) & letters(row["asked"])))
        wrong = [entry for entry in near if entry != row["question"]][:WRONG_PER_RIGHT]
        for entry in [row["question"], *wrong] if row["question"] else wrong:
            rows.append({"text1": row["asked"], "text2": entry, "label": int(entry == row["question"])})
    return rows


def make_teacher(folder: Path, files: dict[str, str], encoder: str) -> str:
    """Fine-tune the encoder; returns the folder of the teacher."""
    teacher = str(folder / "teacher")
    flipkd.teach(TeachConfig.check(files | {"teacher_name_or_path": encoder, "output_dir": teacher}))
    return teacher


def train_matcher(folder: Path, name: str, *, files: dict[str, str], settings: dict[str, Any]) -> str:
    """Train the LLM and choose the thresholds; returns the folder of the matcher."""
    matcher = folder / f"matcher-{name}"
    if matcher.exists():
        return str(matcher)
    trained = flipkd.train(TrainConfig.check(files | settings | {"output_dir": str(folder / f"run-{name}")}))
    calibrate(
        CalibrateConfig(
            matcher=str(trained),
            validation_file=files["validation_file"],
            output_dir=str(matcher),
            threshold="f1",
            review="recall=0.99",
        )
    )
    return str(matcher)


def make_index(folder: Path, teacher: str) -> str:
    """Make the index of the FAQ with the teacher's vectors; returns its folder."""
    made = folder / "index"
    if not made.exists():
        texts = str(HERE / "faq.csv")
        build(IndexConfig(texts=texts, encoder=teacher, text="question", keep=["answer"], output_dir=str(made)))
    return str(made)


class Client:
    """Calls of the server with its key."""

    def __init__(self, address: str, key: str) -> None:
        self.address, self.key = address, key

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a body as JSON and return the response."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        with urlopen(Request(self.address + path, json.dumps(body).encode(), headers), timeout=60) as response:
            return json.load(response)


@contextmanager
def served(folder: Path, matcher: str, faq: str, queue: Path) -> Iterator[Client]:
    """Serve the matcher, the index and the page /review; the context ends the server."""
    key = secrets.token_hex(16)
    (folder / "key").write_text(key)
    command = [sys.executable, "-m", "flipkd", "serve", "--matcher", matcher, "--index", faq, "--port", "0"]
    command += ["--review_queue", str(queue), "--review_sample", "0.5", "--api_key_file", str(folder / "key")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stderr if "listening on" in line)
            address = line.split("listening on ")[1].split(";")[0]
            while True:
                try:
                    urlopen(f"{address}/readyz", timeout=60).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield Client(address, key)
        finally:
            server.terminate()
            server.stderr.read()


def label(client: Client, answers: dict[str, str]) -> None:
    """Label every pair of the queue as a person does on the page, by the known answers."""
    found = client.post("/review/next", annotator="example")
    while pair := found["pair"]:
        name = "match" if answers.get(pair["text1"]) == pair["text2"] else "no_match"
        found = client.post("/review/vote", annotator="example", key=pair["key"], label=name)


def right_answers(matcher_folder: str, index_folder: str, asked: list[dict[str, str]]) -> int:
    """Count the questions that get the right entry, or none where none answers them; a doubtful entry is shown as well."""
    matcher, faq = flipkd.Matcher.from_pretrained(matcher_folder), flipkd.Index.load(index_folder)
    encode, right = encoder_of(faq, None, matcher=matcher), 0
    for row in asked:
        [vector] = encode([row["asked"]])
        [best] = matcher.search(row["asked"], faq, vector=vector, top_k=1, candidates=5)
        right += (best["text"] if best["decision"] != "no_match" else "") == row["question"]
    return right


def main(
    folder: str = "examples/output/faq_bot",
    *,
    encoder: str = "all-MiniLM-L6-v2",
    llm: str = "gemma-3-270m",
    settings: dict[str, Any] | None = None,
    by_hand: bool = False,
) -> None:
    """Run all steps in `folder` and print what each one gave."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    entries = [row["question"] for row in read_rows(HERE / "faq.csv")]
    asked = read_rows(HERE / "asked.csv")
    parts = {part: [row for row in asked if row["part"] == part] for part in ("train", "validation", "new", "test")}
    files = {
        f"{part}_file": write_rows(place / f"{part}.csv", pairs_of(parts[part], entries))
        for part in ("train", "validation")
    }
    teacher = make_teacher(place, files, encoder)
    student = ({"num_train_epochs": 1} if settings is None else settings) | {
        "teacher": teacher,
        "model_name_or_path": llm,
    }
    first = train_matcher(place, "first", files=files, settings=student)
    faq, queue, reviewed = make_index(place, teacher), place / "queue.db", place / "reviewed.csv"

    if not reviewed.exists():
        with served(place, first, faq, queue) as client:
            [best] = client.post("/search", query=SHOWN, top_k=1, candidates=5)["results"]
            print(f"{SHOWN}\n  {best['decision']} {best['probability']:.2f}: {best['text']} {best['answer']}")
            for row in parts["new"]:
                client.post("/search", query=row["asked"], top_k=5, candidates=5)
            if by_hand:
                input(f"Label the pairs at {client.address}/review with the key {client.key}, then press Enter here. ")
            else:
                label(client, {row["asked"]: row["question"] for row in parts["new"]} | {SHOWN: entries[1]})
        write_labelled(ReviewPairsConfig(queue=str(queue), output=str(reviewed)))
    print(stats_text(queue_stats(ReviewStatsConfig(queue=str(queue)))))

    rows = [{name: row[name] for name in ("text1", "text2", "label")} for row in read_rows(reviewed)]
    more = {"train_file": write_rows(place / "train-more.csv", read_rows(Path(files["train_file"])) + rows)}
    second = train_matcher(place, "second", files=files | more, settings=student)
    for name, matcher in (("first", first), ("second", second)):
        right = right_answers(matcher, faq, parts["test"])
        print(f"the {name} matcher answers {right} of {len(parts['test'])} test questions rightly")


if __name__ == "__main__":
    main(by_hand="--by_hand" in sys.argv)

# Output:
#
#     My card has disappeared yesterday
#       match 0.92: I lost my library card. What now? Call us or block it in your account under Card. A new one costs 3 euros.
#     61 pairs, 61 labelled, 0 with different labels, 0 labelled but undecided
#
#     | decision | reason | pairs | scored pairs | labelled | matches |
#     |----------|--------|-------|--------------|----------|---------|
#     | match    | sample | 7     | 14           | 7        | 85.7%   |
#     | no_match | sample | 16    | 32           | 16       | 0.0%    |
#     | review   | review | 38    | 38           | 38       | 7.9%    |
#
#     matches among all scored pairs: 17.86% (standard error 4.06%)
#
#     | annotator | match | no match | skipped |
#     |-----------|-------|----------|---------|
#     | example   | 9     | 52       | 0       |
#     the first matcher answers 9 of 14 test questions rightly
#     the second matcher answers 10 of 14 test questions rightly
