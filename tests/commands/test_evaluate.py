"""evaluate: metrics equal those of scikit-learn at the threshold of the matcher."""

from __future__ import annotations

import csv
import json

from command_line import flipkd
from sklearn.metrics import average_precision_score, f1_score


def test_evaluate_metrics_equal_scikit_learn(trained, pair_files, tmp_path):
    arguments = ("evaluate", "--matcher", trained, "--test_file", pair_files["test"])
    done = flipkd(*arguments, "--json", "--output", tmp_path / "new" / "e.json")
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    rows = [json.loads(line) for line in flipkd("match", "--matcher", trained, pair_files["test"]).out.splitlines()]
    with open(pair_files["test"], encoding="utf-8") as handle:
        label = [int(row["label"]) for row in csv.DictReader(handle)]
    assert metrics["f1"] == f1_score(label, [row["decision"] == "match" for row in rows])
    assert metrics["average_precision"] == average_precision_score(label, [row["score"] for row in rows])
    written = json.loads((tmp_path / "new" / "e.json").read_text())
    assert written == {"matcher": trained, "test_file": pair_files["test"], "metrics": metrics}
    table = flipkd(*arguments, "--output", tmp_path / "again.json").out
    assert f"| f1                | {metrics['f1']:.4g}" in table
    assert table.endswith(f"\noutput: {tmp_path / 'again.json'}\n")


def test_evaluate_skips_rows_without_a_label(trained, pair_files, tmp_path):
    with open(pair_files["test"], encoding="utf-8") as handle:
        text = handle.read()
    (tmp_path / "more.csv").write_text(text + "an extra,row,,\n")
    arguments = ("evaluate", "--matcher", trained, "--json", "--test_file")
    assert flipkd(*arguments, tmp_path / "more.csv").out == flipkd(*arguments, pair_files["test"]).out


def test_evaluate_rejects_pairs_without_labels(trained, tmp_path):
    (tmp_path / "u.csv").write_text("text1,text2\na,b\nc,d\n")
    done = flipkd("evaluate", "--matcher", trained, "--test_file", tmp_path / "u.csv")
    assert (done.code, done.out) == (3, "")
    assert "no label column; known names: label" in done.err


def test_an_output_that_cannot_be_written_is_said_before_the_work(pair_files, tmp_path):
    done = flipkd("evaluate", "--matcher", "none", "--test_file", pair_files["test"], "--output", tmp_path)
    assert done.code == 5
    assert "is a folder; name a file" in done.err


def test_a_matcher_is_compared_with_its_teacher_and_is_loyal_to_itself(trained, taught, pair_files):
    arguments = ("evaluate", "--matcher", trained, "--test_file", pair_files["test"], "--json", "--teacher")
    found = json.loads(flipkd(*arguments, taught).out)
    assert 0 < found["teacher_loyalty"] < 1
    assert -1 <= found["teacher_spearman"] <= 1
    itself = json.loads(flipkd(*arguments, trained).out)
    assert itself["teacher_spearman"] > 0.999
    assert itself["teacher_kl"] < 1e-6, "its own calibration"


def test_the_scores_of_a_teacher_are_found_for_texts_that_training_normalises(trained, pair_files, tmp_path):
    taught = ("teach", "--train_file", pair_files["train"], "--validation_file", pair_files["test"])
    assert flipkd(*taught, "--teacher_type", "scores", "--output_dir", tmp_path / "scores").code == 0
    with open(pair_files["test"], encoding="utf-8") as handle:
        spaced = handle.read().replace(" ", "  ")
    (tmp_path / "spaced.csv").write_text(spaced, encoding="utf-8")
    arguments = ("evaluate", "--matcher", trained, "--teacher", tmp_path / "scores", "--json", "--test_file")
    done = flipkd(*arguments, tmp_path / "spaced.csv")
    assert done.code == 0, done.err
    assert done.out == flipkd(*arguments, pair_files["test"]).out
