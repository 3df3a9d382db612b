"""What can be compared: every row of the table, and where each system keeps what it trained."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from flipkd.config import CompareConfig
from flipkd.data import read_pairs
from flipkd.errors import ConfigError
from flipkd.stages.systems import SYSTEMS, Bench, Split, _combined, tfidf
from flipkd.tables import pick


@pytest.fixture
def bench(pair_files, tmp_path) -> Bench:
    files = {f"{name}_file": path for name, path in pair_files.items()}
    config = CompareConfig.check(
        {**files, "output_dir": str(tmp_path), "teach": {"num_train_epochs": 7}, "train": {"lora_r": 3}}
    )
    return Bench(config, {name: read_pairs(path) for name, path in pair_files.items()})


def test_every_row_of_the_table_can_be_imported():
    assert all(callable(pick(SYSTEMS, name, what="system")) for name in SYSTEMS)


def test_settings_of_the_comparison_reach_teacher_and_student(bench, tmp_path):
    teach = bench.teach_config("teacher", 4, {"output_dir": "x"})
    assert (teach.num_train_epochs, teach.seed, teach.output_dir) == (7, 4, "x")
    train = bench.train_config("plain", 4, {"teacher": None})
    assert (train.lora_r, train.seed, train.output_dir) == (3, 4, str(tmp_path / "runs" / "plain-seed4"))
    assert train.train_file == teach.train_file == bench.config.train_file
    assert bench.folder("teacher_finetuned", 4) == tmp_path / "runs" / "teacher_finetuned-seed4"
    with pytest.raises(ConfigError, match="did you mean 'loss'"):
        bench.teach_config("teacher", 4, {"los": "cosent"})


def test_tfidf_is_a_cosine_that_knows_nothing_of_the_test_pairs(bench):
    split = tfidf(bench, 0)["cosine"]
    assert split.validation.shape == split.test.shape == (24,)
    assert split.test.min() >= 0
    assert split.test.max() <= 1 + 1e-9
    same = [i for i, (a, b) in enumerate(zip(*bench.texts("test"), strict=True)) if a == b]
    assert split.test[same] == pytest.approx(1)
    changed = Bench(bench.config, bench.sets | {"test": bench.sets["test"].select([5])})
    assert tfidf(changed, 0)["cosine"].test == pytest.approx(split.test[[5]])


def test_combined_is_a_logistic_fit_on_validation_alone():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    answer, cosine = random.normal(size=60) + label, random.normal(size=60) * 100 + 50 * label
    scores = {"answer": Split(answer, answer[:5]), "cosine": Split(cosine, cosine[:5])}
    found = _combined(scores, label)
    assert found.test == pytest.approx(found.validation[:5])
    columns = np.column_stack([answer, cosine])
    columns = (columns - columns.mean(0)) / columns.std(0)
    assert found.validation == pytest.approx(
        LogisticRegression().fit(columns, label).decision_function(columns), abs=1e-3
    )
