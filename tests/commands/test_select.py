"""select: the pairs between two quantiles of a value, in the order of the file."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest
from command_line import flipkd

from flipkd.commands.row_file import write_rows


def rows_of(path):
    with open(path, encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def select(pairs, tmp_path, *words):
    done = flipkd("select", pairs, *words, "--output", tmp_path / "s.csv")
    assert done.code == 0, done.err
    return rows_of(tmp_path / "s.csv")


def test_select_keeps_the_share_of_the_budget_in_the_order_of_the_file(trained, pair_files, tmp_path):
    given = rows_of(pair_files["test"])
    everything = select(pair_files["test"], tmp_path, "--by", "difficulty", "--matcher", trained)
    assert [row["text1"] for row in everything] == [row["text1"] for row in given]
    words = ("--by", "difficulty", "--matcher", trained, "--quantiles", "0.5,1")
    hard = select(pair_files["test"], tmp_path, *words)
    assert len(hard) == 12
    bound = sorted(float(row["value"]) for row in everything)[12]
    kept = [row for row in everything if float(row["value"]) >= bound]
    assert hard == kept


def test_select_replaces_no_column_of_the_file(tmp_path):
    words = ("--by", "difficulty", "--matcher", tmp_path / "none", "--output", tmp_path / "s.csv")
    (tmp_path / "p.csv").write_text("text1,text2,value\na,b,9.99\n")
    done = flipkd("select", tmp_path / "p.csv", *words)
    assert (done.code, "has a column 'value', which the result adds" in done.err) == (2, True), done.err
    (tmp_path / "p.csv").write_text("text1,text2,selected_by,value\na,b,errors,0.5\n")
    assert "no such folder" in flipkd("select", tmp_path / "p.csv", *words).err


def test_disagreement_and_unfamiliarity(trained, taught, pair_files, tmp_path):
    words = ("--by", "disagreement", "--teacher", taught, "--validation_file", pair_files["validation"])
    close = select(pair_files["test"], tmp_path, *words, "--matcher", trained, "--quantiles", "0,0.25")
    assert len(close) == 6
    assert all(0 <= float(row["value"]) < 1 for row in close)
    strange = tmp_path / "more.csv"
    strange.write_text(
        "text1,text2\n" + "".join(f"{r['text1']},{r['text2']}\n" for r in rows_of(pair_files["train"])[:9])
    )
    strange.write_text(strange.read_text() + "ZZ##9,QQ%%8\n")
    words = (
        "--by",
        "unfamiliarity",
        "--teacher",
        taught,
        "--known_file",
        pair_files["train"],
        "--quantiles",
        "0.95,1",
    )
    assert [row["text1"] for row in select(strange, tmp_path, *words)] == ["ZZ##9"]


def test_errors_are_the_pairs_that_the_matcher_decides_wrongly(trained, pair_files, tmp_path):
    decided = [json.loads(line) for line in flipkd("match", "--matcher", trained, pair_files["test"]).out.splitlines()]
    wrong = [
        row["text1"]
        for row, found in zip(rows_of(pair_files["test"]), decided, strict=True)
        if (found["decision"] == "match") != (row["label"] == "1")
    ]
    assert wrong
    found = select(pair_files["test"], tmp_path, "--by", "errors", "--matcher", trained)
    assert [row["text1"] for row in found] == wrong
    first = select(pair_files["test"], tmp_path, "--by", "errors", "--matcher", trained, "--quantiles", "0,0.5")
    assert 0 < len(first) <= (len(wrong) + 1) // 2, "the quantiles are those of the wrong pairs"


def test_select_keeps_the_other_columns_of_the_file_also_in_parquet(trained, pair_files, tmp_path):
    given = [{**row, "why": f"reason {k}"} for k, row in enumerate(rows_of(pair_files["test"]))]
    write_rows(tmp_path / "given.csv", given)
    out = tmp_path / "hard.parquet"
    done = flipkd("select", tmp_path / "given.csv", "--by", "difficulty", "--matcher", trained, "--output", out)
    assert done.code == 0, done.err
    assert pq.read_table(out)["why"].to_pylist() == [row["why"] for row in given]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--by", "disagreement"), 2, "--by disagreement needs --teacher"),
        (
            ("--by", "errors", "--teacher", "t"),
            2,
            "--teacher has no effect with by=errors; it is for difficulty, disagr",
        ),
        (("--by", "difficulty"), 2, "needs --matcher, or --teacher and --validation_file"),
        (("--by", "difficulty", "--matcher", "m", "--teacher", "t"), 2, "give one of the two"),
        (("--by", "errors", "--matcher", "m", "--quantiles", "0.5,0.2"), 4, "the lower one first"),
        (("--by", "errors", "--matcher", "m", "--output", "x"), 2, "name the result .csv, .jsonl or .parquet"),
    ],
)
def test_select_refuses_settings_that_do_not_fit(pair_files, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    done = flipkd("select", pair_files["test"], *words)
    assert done.code == code
    assert message in done.err


@pytest.mark.parametrize("by", ["difficulty", "unfamiliarity"])
def test_the_teacher_gets_normal_texts_as_in_training(by, taught, pair_files, tmp_path):
    needs = {"difficulty": ("--validation_file", "validation"), "unfamiliarity": ("--known_file", "train")}[by]
    words = ("--by", by, "--teacher", taught, needs[0], pair_files[needs[1]])
    spaced = tmp_path / "spaced.csv"
    with open(pair_files["test"], encoding="utf-8") as handle:
        spaced.write_text(handle.read().replace("e", "e\u00ad"), encoding="utf-8")  # soft hyphens
    spaced.write_text(spaced.read_text().replace("te\u00adxt", "text", 2).replace("labe\u00adl", "label", 1))
    found = [float(row["value"]) for row in select(spaced, tmp_path, *words)]
    assert found == [float(row["value"]) for row in select(pair_files["test"], tmp_path, *words)]
