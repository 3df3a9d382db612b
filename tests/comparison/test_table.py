"""Table of a comparison: means over seeds, the chosen score."""

from __future__ import annotations

from flipkd.comparison.table import results_table


def result(system: str, f1: float, seed: int = 0, *, score: str = "answer", overrides=None):
    metrics = dict.fromkeys(("f1", "average_precision", "accuracy", "roc_auc", "ece"), f1)
    by_score = (
        {"answer": {"test": metrics}, "cosine": {"test": metrics}}
        if system == "flipped"
        else {"answer": {"test": metrics}}
    )
    return {
        "data": "d",
        "name": system,
        "system": system,
        "seed": seed,
        "overrides": overrides or {},
        "score": score,
        "by_score": by_score,
        "seconds": 10.0 * (seed + 1),
        "peak_memory_bytes": 2**30 * (seed + 1),
    }


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_results_table_shows_means_and_half_intervals_of_seeds():
    table = results_table([result("plain", 0.5)])
    assert cells(table)[2] == ["d", "plain", "answer", *["0.500"] * 5, "1", "10", "1.0"]
    table = results_table([result("plain", 0.5), result("plain", 0.7, 1)])
    assert cells(table)[2] == ["d", "plain", "answer", *["0.600 ± 1.271"] * 5, "2", "15", "2.0"]  # t(1) = 12.706
    table = results_table([result("tfidf", 0.5), result("tfidf", 0.5, 1)])
    assert cells(table)[2][3:8] == ["0.500"] * 5, "a seed changes nothing, so nothing is known of a spread"


def test_results_table_marks_the_chosen_score_and_separates_settings():
    table = results_table([result("flipped", 0.5, score="cosine"), result("plain", 0.1, overrides={"lora_r": 2})])
    assert [row[2] for row in cells(table)[2:]] == ["answer", "cosine*", "answer"]
    assert table.endswith("(* chosen on validation)")
    two = results_table([result("plain", 0.1), result("plain", 0.3, overrides={"lora_r": 2})])
    assert [row[3] for row in cells(two)[2:]] == ["0.100", "0.300"]


def test_results_table_adds_a_row_when_seeds_choose_differently():
    units = [result("flipped", 0.4, score="cosine"), result("flipped", 0.6, 1, score="answer")]
    units[0]["by_score"]["answer"] = {"test": dict.fromkeys(units[0]["by_score"]["answer"]["test"], 0.1)}
    rows = cells(results_table(units))[2:]
    assert [row[2] for row in rows] == ["answer", "cosine", "chosen*"]
    assert [row[3].split()[0] for row in rows] == ["0.350", "0.500", "0.500"]
