"""enrich, propagate and weak_pairs from the command line: what is written, and what is refused."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from command_line import flipkd, given

from flipkd.commands.row_file import write_rows
from flipkd.data.pairs import read_pairs
from flipkd.evaluate.propagation import propagate
from flipkd.teachers.stored_teacher import StoredTeacher


def rows_of(path):
    with open(path, encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def run(*words):
    done = flipkd(*words)
    assert done.code == 0, done.err
    return done.out


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "text1": "reset my PIN",
            "text2": "new PIN",
            "label": 1,
            "why": "both ask for it",
            "de1": "PIN ändern",
            "de2": "",
        },
        {"text1": "close it", "text2": "open it", "label": 0, "why": "", "de1": "schließen", "de2": "öffnen"},
    ]
    write_rows(tmp_path / "pairs.csv", rows)
    (tmp_path / "terms.csv").write_text("term,definition\npin,secret number\n")
    return tmp_path / "pairs.csv"


def test_enrich_adds_knowledge_and_leaves_a_text_without_a_term_unchanged(pairs, tmp_path):
    out = run(
        "enrich", pairs, "--glossary", tmp_path / "terms.csv", "--context", "why", "--output", tmp_path / "e.csv"
    )
    assert "2 pairs, 1 with added knowledge" in out
    first, second = rows_of(tmp_path / "e.csv")
    assert first["text1"] == "reset my PIN (pin: secret number)"
    assert first["text2"] == "new PIN (pin: secret number) (both ask for it)"
    assert (second["text1"], second["text2"], second["label"]) == ("close it", "open it", "0")
    assert (first["why"], first["de1"]) == ("both ask for it", "PIN ändern"), "other columns are kept"


def test_enrich_replaces_no_file_of_pairs(pairs, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("text1,text2,label\na,b,1\n")
    refused = flipkd("enrich", pairs, "--context", "why", "--output", own)
    assert (refused.code, "own.csv: exists and is not replaced" in refused.err) == (5, True)
    assert own.read_text() == "text1,text2,label\na,b,1\n"


def test_a_teacher_reads_the_knowledge_and_the_student_does_not(pairs, taught, tmp_path):
    words = ("enrich", pairs, "--glossary", tmp_path / "terms.csv", "--teacher", taught)
    run(*words, "--output", tmp_path / "s.csv")
    found = read_pairs(tmp_path / "s.csv")
    assert found["text1"][:] == ["reset my PIN", "close it"]
    read = ["reset my PIN (pin: secret number)", "close it"], ["new PIN (pin: secret number)", "open it"]
    assert found["score"][:] == pytest.approx(StoredTeacher(taught).pair_signal(*read).pair_scores().tolist())


def test_a_teacher_gets_normal_texts_as_in_training(pair_files, taught, tmp_path):
    rows = rows_of(pair_files["test"])
    split = [row | {"why": "", "text1": row["text1"].replace("e", "e\u00ad")} for row in rows]  # soft hyphens
    for name, own in (("plain", [row | {"why": ""} for row in rows]), ("split", split)):
        write_rows(tmp_path / f"{name}.csv", own)
        run(
            "enrich",
            tmp_path / f"{name}.csv",
            "--context",
            "why",
            "--teacher",
            taught,
            "--output",
            tmp_path / f"{name}-out.csv",
        )
    found = [[row["score"] for row in rows_of(tmp_path / f"{name}-out.csv")] for name in ("plain", "split")]
    assert found[0] == found[1]


def test_the_scores_of_translations_teach_a_student_of_the_originals(
    trained, taught, base_models, pair_files, tmp_path
):
    """Translate-distill: both read another text of the same pair."""
    files = {}
    for name in ("train", "validation"):
        rows = [{**row, "left": row["text1"] + " now", "right": row["text2"]} for row in rows_of(pair_files[name])]
        write_rows(tmp_path / f"{name}-both.csv", rows)
        files[name] = str(tmp_path / f"{name}.csv")
        run(
            "enrich",
            tmp_path / f"{name}-both.csv",
            "--instead",
            "left,right",
            "--teacher",
            taught,
            "--output",
            files[name],
        )
    run("teach", *given(files), "--teacher_type", "scores", "--output_dir", tmp_path / "teacher")
    dataset = read_pairs(files["train"])
    found = StoredTeacher(tmp_path / "teacher").signal(dataset).pair_scores()
    moved = [text + " now" for text in dataset["text1"][:]]
    assert found == pytest.approx(
        StoredTeacher(taught).pair_signal(moved, dataset["text2"][:]).pair_scores(), abs=1e-5
    )


def test_a_matcher_can_be_the_teacher(pairs, trained, tmp_path):
    run("enrich", pairs, "--context", "why", "--teacher", trained, "--output", tmp_path / "m.jsonl")
    assert np.isfinite(read_pairs(tmp_path / "m.jsonl")["score"][:]).all()


def test_propagated_probabilities_are_a_further_column(trained, pair_files, tmp_path):
    run("match", "--matcher", trained, pair_files["test"], "--output", tmp_path / "scored.csv")
    run("propagate", tmp_path / "scored.csv", "--alpha", 0.3, "--output", tmp_path / "p.csv")
    rows = rows_of(tmp_path / "p.csv")
    assert list(rows[0]) == ["text1", "text2", "score", "probability", "decision", "propagated"]
    p = [float(row["probability"]) for row in rows]
    expected = propagate([r["text1"] for r in rows], [r["text2"] for r in rows], p, alpha=0.3)
    assert [float(row["propagated"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)


def test_weak_pairs_of_a_click_log_train_a_teacher(tmp_path, encoders):
    links = [(f"{name} {k}", f"{name}{c}") for name in ("shoes", "hats") for k in range(3) for c in range(3)]
    write_rows(tmp_path / "clicks.csv", [{"query": query, "item": item} for query, item in links])
    words = ("--text", "query", "--target", "item", "--output", tmp_path / "w.csv")
    assert "12 pairs (6 match, 6 do not)" in run("weak-pairs", tmp_path / "clicks.csv", *words)
    for row in rows_of(tmp_path / "w.csv"):
        assert (row["text1"][:4] == row["text2"][:4]) == (row["label"] == "1")
    words = ("--train_file", tmp_path / "w.csv", "--teacher_name_or_path", encoders / "bi", "--num_train_epochs", 1)
    run("teach", *words, "--output_dir", tmp_path / "teacher")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("enrich",), 2, "set --glossary, --context or --instead"),
        (("enrich", "--instead", "de1"), 2, "--instead needs two columns, got 1"),
        (("enrich", "--context", "nothing"), 3, "nothing"),
        (("propagate",), 3, "label, why, de1, de2; choose one with --probability"),
        (
            ("propagate", "--probability", "why"),
            3,
            "row 1, column why: got 'both ask for it'; a probability is a number",
        ),
        (("weak-pairs", "--text", "text1", "--target", "label"), 3, "no two texts share enough targets"),
        (
            ("weak-pairs", "--text", "text1", "--target", "why"),
            3,
            "row 2, column why: is empty; fill it, or remove the row",
        ),
        (("enrich", "--context", "why", "--output", "x.txt"), 2, "name the result .csv, .jsonl or .parquet"),
    ],
)
def test_enrich_propagate_and_weak_pairs_refuse_what_cannot_be_done(
    pairs, tmp_path, monkeypatch, words, code, message
):
    monkeypatch.chdir(tmp_path)
    done = flipkd(words[0], pairs, *words[1:])
    assert done.code == code
    assert message in done.err
