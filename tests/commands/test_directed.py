"""Directed pairs in every command: different labels of (a, b) and (b, a) are not a conflict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command_line import flipkd, given, student
from tiny import make_table

from flipkd.comparison.compare import compare
from flipkd.config import CompareConfig, TrainConfig
from flipkd.errors import ConfigError
from flipkd.student.contract import FORMAT

DIRECTED = ("--set", "directed=true")


@pytest.fixture(scope="module")
def directed_files(tmp_path_factory) -> dict[str, str]:
    """Files in which each pair stands a second time the other way round, with the other label."""
    folder, files = tmp_path_factory.mktemp("directed"), {}
    for seed, (name, count) in enumerate({"train": 32, "validation": 24, "test": 24}.items()):
        table = make_table(count, seed=seed)
        rows = {(a, b): y for a, b, y in zip(table.left, table.right, table.label.tolist(), strict=True) if a != b}
        rows = {(a, b): y for (a, b), y in rows.items() if rows.get((b, a), y) == y and (a < b or (b, a) not in rows)}
        files[name] = str(folder / f"{name}.csv")
        with open(files[name], "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["text1", "text2", "label"])
            writer.writerows(row for (a, b), y in rows.items() for row in ((a, b, y), (b, a, 1 - y)))
    return files


@pytest.fixture(scope="module")
def entailment(tmp_path_factory, base_models, directed_files) -> str:
    """The folder of a finished run on such pairs, from labels alone."""
    folder = str(tmp_path_factory.mktemp("entailment") / "run")
    arguments = [*given(directed_files), *student(base_models["llama"], num_train_epochs=1), "--output_dir", folder]
    for name in ("pairwise_pref_kl", "margin_hinge", "in_batch_kl"):
        arguments += ["--set", f"objectives.{name}=0"]
    refused = flipkd("train", *arguments)
    assert refused.code == 3
    assert "pairs with both labels" in refused.err
    done = flipkd("train", *arguments, *DIRECTED)
    assert done.code == 0, done.err
    return folder


def test_check_and_split_directed_pairs(directed_files, tmp_path):
    file = directed_files["train"]
    assert flipkd("check", file).code == 3
    done = flipkd("check", file, "--directed", "--json")
    assert done.code == 0, done.err
    counts = json.loads(done.out)["files"][file]["counts"]
    assert counts["conflicting_pairs"] == counts["duplicate_pairs"] == 0
    done = flipkd("split", file, "--output_dir", tmp_path, "--validation", 0, "--test", 0.2)
    assert done.code in (0, 3), done.err
    assert "both labels" not in done.err


def test_matcher_stores_directed_and_is_evaluated_on_directed_pairs(entailment, directed_files, tmp_path):
    contract = json.loads((Path(entailment) / "matcher" / "matcher.json").read_text())
    assert (contract["format"], contract["directed"]) == (FORMAT, True)
    assert "(a, b) may match and (b, a) not" in (Path(entailment) / "matcher" / "README.md").read_text()
    done = flipkd("evaluate", "--matcher", entailment, "--test_file", directed_files["test"])
    assert done.code == 0, done.err
    arguments = ("calibrate", "--matcher", entailment, "--validation_file", directed_files["validation"])
    done = flipkd(*arguments, "--output_dir", tmp_path / "symmetric", "--symmetric")
    assert done.code == 4
    assert "trained with directed=true" in done.err
    assert not (tmp_path / "symmetric").exists()
    done = flipkd(*arguments, "--output_dir", tmp_path / "again")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "again" / "matcher.json").read_text())["directed"]


def test_evaluate_rejects_directed_pairs_for_an_undirected_matcher(trained, directed_files):
    done = flipkd("evaluate", "--matcher", trained, "--test_file", directed_files["test"])
    assert done.code == 3
    assert "both labels" in done.err


def test_teach_warns_of_a_bi_encoder_for_directed_pairs(directed_files, encoders, tmp_path):
    arguments = (
        "--teacher_name_or_path",
        encoders / "bi",
        "--set",
        "fine_tune=false",
        "--output_dir",
        tmp_path / "teacher",
    )
    done = flipkd("teach", *given(directed_files), *arguments, *DIRECTED)
    assert done.code == 0, done.err
    assert "a bi-encoder gives (a, b) and (b, a) the same score" in done.err


@pytest.mark.slow
def test_compare_with_directed_pairs(directed_files, tmp_path):
    files = {f"{name}_file": path for name, path in directed_files.items()}
    values = files | {"output_dir": str(tmp_path / "comparison"), "systems": ["tfidf"], "directed": True}
    (result,) = compare(CompareConfig.check(values))
    assert result["metrics"]["test"]["roc_auc"] == pytest.approx(0.5), "a cosine knows no direction"


def test_train_config_rejects_swap_texts_for_directed_pairs():
    values = {"train_file": "a", "validation_file": "b", "swap_texts": True}
    assert TrainConfig.check(values).swap_texts
    with pytest.raises(ConfigError, match="swap_texts is True: directed pairs cannot be swapped"):
        TrainConfig.check(values | {"directed": True})
