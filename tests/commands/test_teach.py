"""teach: a teacher folder that is not computed twice and is rejected when it does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import flipkd, given

from flipkd.data.pairs import read_pairs
from flipkd.errors import DataError
from flipkd.teachers.stored_teacher import StoredTeacher


@pytest.fixture
def copy(taught, tmp_path):
    return Path(shutil.copytree(taught, tmp_path / "teacher"))


def test_teach_twice_computes_nothing(encoders, pair_files, copy):
    parts = {path.name for path in copy.glob("store/*/part-*")}
    weights = (copy / "model" / "model.safetensors").stat().st_mtime_ns
    done = flipkd("teach", *given(pair_files), "--teacher_name_or_path", encoders / "bi", "--output_dir", copy)
    assert done.code == 0, done.err
    assert done.out.endswith(f"teacher: {copy}\n")
    assert "| average_precision |" in done.out
    assert {path.name for path in copy.glob("store/*/part-*")} == parts
    assert (copy / "model" / "model.safetensors").stat().st_mtime_ns == weights
    done = flipkd("teach", *given(pair_files), "--teacher_name_or_path", encoders / "cross", "--output_dir", copy)
    assert done.code == 4
    assert "(teacher_name_or_path was" in done.err


@pytest.mark.parametrize("wrong", [True, False])
def test_teach_warns_when_fine_tuning_makes_the_teacher_worse(encoders, pair_files, tmp_path, wrong):
    dataset = read_pairs(pair_files["train"])
    rows = [f"{row['text1']},{row['text2']},{row['label'] ^ wrong}," for row in dataset]  # the other way round
    files = ["--train_file", write(tmp_path / "train.csv", rows), "--validation_file", pair_files["train"]]
    settings = ["--set", "num_train_epochs=20", "--set", "learning_rate=2e-3", "--set", "loss=cosine"]
    done = flipkd(
        *("teach", *files, *settings, "--teacher_name_or_path", encoders / "bi"),
        *("--output_dir", tmp_path / "t", "--fine_tune", "true"),
    )
    assert done.code == 0, done.err
    assert ("fine-tuning made the teacher worse on the validation pairs" in done.err) == wrong
    before, after = (
        json.loads((tmp_path / "t" / "model" / "finetune.json").read_text())[when]["average_precision"]
        for when in ("before", "after")
    )
    assert (after < before) == wrong


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("text1,text2,label,score\n" + "".join(row + "\n" for row in rows))
    return path


def test_teach_with_given_scores_and_their_errors(tmp_path):
    good = ["a,b,1,0.9", "c,d,0,0.1", "e,f,1,0.8", "g,h,0,0.2"]
    train = write(tmp_path / "train.csv", good)
    arguments = ("teach", "--set", "teacher_type=scores", "--output_dir", tmp_path / "t", "--train_file")
    done = flipkd(*arguments, train)
    assert done.code == 0, done.err
    assert "| roc_auc           | 1 " in done.out
    teacher = StoredTeacher(tmp_path / "t")
    assert teacher.signal(read_pairs(train)).score.tolist() == pytest.approx([0.9, 0.1, 0.8, 0.2])
    with pytest.raises(DataError, match="contains only given scores"):
        teacher.signal(read_pairs(write(tmp_path / "new.csv", ["x,y,1,0.9"])))
    for rows, expected in (
        ([*good, "i,j,1,"], "train: 1 of 5 pairs have no teacher score, first at position 4"),
        ([*good, "a,b,1,0.7"], "train: row 4: duplicate pair with a different teacher score"),
    ):
        output = tmp_path / f"u{len(expected)}"
        done = flipkd(
            "teach", *arguments[1:3], "--output_dir", output, "--train_file", write(tmp_path / "x.csv", rows)
        )
        assert done.code == 3
        assert expected in done.err
    (tmp_path / "y.csv").write_text("text1,text2,label\na,b,1\nc,d,0\ne,f,1\ng,h,0\n")
    done = flipkd("teach", *arguments[1:3], "--output_dir", tmp_path / "v", "--train_file", tmp_path / "y.csv")
    assert done.code == 3
    assert "train: no score column" in done.err


def test_teach_without_fine_tuning(encoders, pair_files, tmp_path):
    arguments = ["--teacher_name_or_path", encoders / "bi", "--set", "fine_tune=false", "--output_dir", tmp_path / "t"]
    done = flipkd("teach", "--train_file", pair_files["train"], *arguments)
    assert done.code == 0, done.err
    assert "validation" not in done.out
    assert not (tmp_path / "t" / "model").exists()
    recorded = json.loads((tmp_path / "t" / "teacher.json").read_text())
    assert recorded["teacher"]["prompt"] == "q: "
