"""What can be compared: every row of the table, and where each system keeps what it trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from flipkd.config import CompareConfig
from flipkd.data import read_pairs
from flipkd.stages.entries import Entry
from flipkd.stages.systems import SYSTEMS, Bench, _combined, tfidf
from flipkd.stages.units import Split
from flipkd.tables import pick


@pytest.fixture
def bench(pair_files, tmp_path) -> Bench:
    files = {f"{name}_file": path for name, path in pair_files.items()}
    config = CompareConfig.check(
        {**files, "output_dir": str(tmp_path), "teach": {"num_train_epochs": 7}, "train": {"lora_r": 3}}
    )
    sets = {name: read_pairs(path) for name, path in pair_files.items()}
    return Bench(config, sets, Entry("mine", "flipped", config.teach, config.train), 4)


def test_every_row_of_the_table_can_be_imported():
    assert all(callable(pick(SYSTEMS, name, what="system")) for name in SYSTEMS)


def test_settings_of_the_comparison_reach_teacher_and_student(bench, tmp_path):
    teach = bench.teach_config()
    assert (teach.num_train_epochs, teach.seed, teach.train_file) == (7, 4, bench.config.train_file)
    train = bench.train_config(teach.output_dir)
    assert (train.lora_r, train.seed, train.teacher) == (3, 4, teach.output_dir)
    assert Path(train.output_dir).parent == Path(teach.output_dir).parent == tmp_path / "runs"
    assert Path(train.output_dir).name.startswith("mine-")


def test_equal_settings_share_a_folder_and_other_settings_do_not(bench):
    same = replace(bench, entry=Entry("other", "flipped", bench.entry.teach, {"lora_r": 9}))
    assert same.teach_config().output_dir == bench.teach_config().output_dir
    other = replace(bench, entry=Entry("mine", "flipped", {"num_train_epochs": 8}, bench.entry.train))
    assert other.teach_config().output_dir != bench.teach_config().output_dir
    students = [b.train_config(b.teach_config().output_dir).output_dir for b in (bench, same, other)]
    assert len(set(students)) == 3, "a student of another teacher is another student"
    assert replace(bench, seed=5).teach_config().output_dir != bench.teach_config().output_dir


def test_tfidf_is_a_cosine_that_knows_nothing_of_the_test_pairs(bench):
    split = tfidf(bench)["cosine"]
    assert split.validation.shape == split.test.shape == (24,)
    assert split.test.min() >= 0
    assert split.test.max() <= 1 + 1e-9
    same = [i for i, (a, b) in enumerate(zip(*bench.texts("test"), strict=True)) if a == b]
    assert split.test[same] == pytest.approx(1)
    changed = replace(bench, sets=bench.sets | {"test": bench.sets["test"].select([5])})
    assert tfidf(changed)["cosine"].test == pytest.approx(split.test[[5]])


def test_combined_is_a_logistic_fit_on_validation_alone():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    answer, cosine = random.normal(size=60) + label, random.normal(size=60) * 100 + 50 * label
    scores = {"answer": Split(answer, answer[:5]), "cosine": Split(cosine, cosine[:5])}
    found = _combined(scores, label)
    assert found.test == pytest.approx(found.validation[:5])
    columns = np.column_stack([answer, cosine])
    columns = (columns - columns.mean(0)) / columns.std(0)
    expected = LogisticRegression().fit(columns, label).decision_function(columns)
    assert np.diff(found.validation) == pytest.approx(np.diff(expected), abs=1e-3)  # all but the intercept
