"""Pool of unlabelled pairs: reading, scoring by the teacher, even sampling, appending to the training pairs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import flipkd, given, student
from tiny import make_table, write_pairs

from flipkd.commands.pool import add_mined_pairs, add_pool_pairs, pool_size, require_vectors_for, unlabelled_pool
from flipkd.commands.train import _table
from flipkd.config import TrainConfig
from flipkd.data.pairs import read_pairs
from flipkd.data.pool import read_pool
from flipkd.errors import ConfigError, DataError
from flipkd.evaluate.calibration import Calibration
from flipkd.teachers.stored_teacher import StoredTeacher

CALIBRATION = Calibration("sigmoid", 8.0, -4.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pool of 60 pairs with labels that do not count, and the texts of 12 of them alone."""
    folder = tmp_path_factory.mktemp("pool")
    pairs = write_pairs(folder / "pairs.csv", make_table(60, seed=9))
    with open(folder / "texts.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([["text"], *([f"{text} {i}"] for i, text in enumerate(make_table(12, seed=8).left))])
    return {"pairs": str(pairs), "texts": str(folder / "texts.csv")}


def settings(pair_files, **changes):
    return TrainConfig.check({f"{name}_file": pair_files[name] for name in ("train", "validation")} | changes)


@pytest.fixture
def train_set(pair_files):
    return read_pairs(pair_files["train"])


def test_unlabelled_pool_is_normalised(train_set, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("text1,text2\nnew\u200b one,other\nnew one,other\n", encoding="utf-8")
    assert unlabelled_pool(str(path), columns=None, train=train_set).dataset[:] == {
        "text1": ["new one"],
        "text2": ["other"],
    }
    path.write_text("text\nnew\u200b one\nnew one\nother\n", encoding="utf-8")
    assert unlabelled_pool(str(path), columns=None, train=train_set).dataset["text2"][:] == ["new one", "other"]


def test_unlabelled_pool_drops_training_pairs_and_duplicates(train_set, files, tmp_path, caplog):
    first = train_set[0]
    rows = ["new one,new other,5", "new other,new one,0", f"{first['text2']},{first['text1']},1", "third,fourth,"]
    path = tmp_path / "p.csv"
    path.write_text("text1,text2,label\n" + "\n".join(rows) + "\n")
    pool = unlabelled_pool(str(path), columns=None, train=train_set)
    assert pool.dataset.to_dict() == {"text1": ["new one", "third"], "text2": ["new other", "fourth"]}
    assert "the labels in column label are ignored" in caplog.text
    assert "2 of 4 pairs are training pairs or duplicates" in caplog.text
    path.write_text(f"text1,text2\n{first['text1']},{first['text2']}\n")
    with pytest.raises(DataError, match="all 1 pairs are training pairs"):
        unlabelled_pool(str(path), columns=None, train=train_set)
    path.write_text("text1,text2\na,\n")
    with pytest.raises(DataError, match="unlabelled: cannot be used: empty texts: 1"):
        unlabelled_pool(str(path), columns=None, train=train_set)


def test_pool_size_by_ratio(files):
    pairs, texts = read_pool(files["pairs"]), read_pool(files["texts"])
    labels = np.array([1, 0, 1, 0, -1])
    assert [pool_size(pairs, labels, ratio) for ratio in (None, 2.5, 100, 0)] == [60, 10, 60, 0]
    assert [pool_size(texts, labels, ratio) for ratio in (None, 2.5, 100, 0)] == [12, 10, 400, 0]


def test_add_pool_pairs_samples_evenly_over_the_probability(taught, train_set, files, pair_files):
    teacher = StoredTeacher(taught)
    table, pool = _table(train_set, teacher, trained_on=True), read_pool(files["pairs"])
    config = settings(pair_files, unlabelled_ratio=0.5)
    wider = add_pool_pairs(table, pool, teacher, CALIBRATION, config)
    assert len(wider) == 48 + 24
    assert wider.label[48:].tolist() == [-1] * 24
    assert [*zip(wider.left, wider.right, strict=True)][:48] == [*zip(table.left, table.right, strict=True)]
    scores = np.einsum("nd,nd->n", teacher.vectors(wider.left), teacher.vectors(wider.right))
    assert wider.teacher.pair_scores() == pytest.approx(scores, abs=1e-6)
    there = bins(CALIBRATION.apply(teacher.signal(pool.dataset).pair_scores()))
    taken = bins(CALIBRATION.apply(wider.teacher.pair_scores()[48:]))
    left_over = taken < there
    assert left_over.any()
    assert taken.max() - taken[left_over].min() <= 1
    assert add_pool_pairs(table, pool, teacher, CALIBRATION, config).left == wider.left
    assert add_pool_pairs(table, pool, teacher, CALIBRATION, config.model_copy(update={"seed": 1})).left != wider.left
    everything = add_pool_pairs(table, pool, teacher, CALIBRATION, settings(pair_files))
    assert everything.left[48:] == pool.dataset["text1"][:]


def bins(probability):
    return np.bincount(np.minimum((probability * 10).astype(int), 9), minlength=10)


def test_add_pool_pairs_finds_partners_for_single_texts(taught, train_set, files, pair_files):
    teacher = StoredTeacher(taught)
    table, pool = _table(train_set, teacher, trained_on=True), read_pool(files["texts"])
    wider = add_pool_pairs(table, pool, teacher, CALIBRATION, settings(pair_files, unlabelled_ratio=1))
    new = [*zip(wider.left[48:], wider.right[48:], strict=True)]
    assert len({frozenset(pair) for pair in new}) == len(new) > 12
    own, known = set(pool.dataset["text1"][:]), {*table.left, *table.right}
    assert {a for a, _ in new} <= own
    assert {b for _, b in new} <= own | known
    assert {b in own for _, b in new} == {True, False}
    scores = np.einsum("nd,nd->n", teacher.vectors(wider.left), teacher.vectors(wider.right))
    assert wider.teacher.pair_scores() == pytest.approx(scores, abs=1e-6)
    teacher.kind = "cross_encoder"
    with pytest.raises(
        ConfigError, match="single texts, which need a bi-encoder teacher to form pairs, but this teacher is cross"
    ):
        require_vectors_for(pool, teacher)
    require_vectors_for(read_pool(files["pairs"]), teacher)


@pytest.mark.parametrize("mining", ["nearest", "stratified"])
def test_add_mined_pairs_appends_pairs_that_are_not_in_the_pool(taught, train_set, files, pair_files, mining):
    teacher = StoredTeacher(taught)
    table = _table(train_set, teacher, trained_on=True)
    alone = add_mined_pairs(table, table, teacher, CALIBRATION, settings(pair_files, mining=mining, mined_ratio=0.5))
    assert len(alone) == 48 + 24
    before = [*zip(alone.left[48:], alone.right[48:], strict=True)]
    vectors = [teacher.vectors([pair[side] for pair in before]) for side in (0, 1)]
    from flipkd.data.pair_table import TeacherSignal

    pooled = table.with_unlabelled(*zip(*before, strict=True), TeacherSignal(left=vectors[0], right=vectors[1]))
    wider = add_mined_pairs(pooled, table, teacher, CALIBRATION, settings(pair_files, mining=mining, mined_ratio=0.5))
    after = [*zip(wider.left[72:], wider.right[72:], strict=True)]
    assert len(after) >= 20
    assert not {frozenset(pair) for pair in after} & {frozenset(pair) for pair in before}
    assert {text for pair in after for text in pair} <= {*table.left, *table.right}


def test_add_mined_pairs_stratified_has_lower_probabilities_than_nearest(taught, train_set, pair_files):
    teacher = StoredTeacher(taught)
    table = _table(train_set, teacher, trained_on=True)
    shares = {}
    for mining in ("nearest", "stratified"):
        wider = add_mined_pairs(table, table, teacher, CALIBRATION, settings(pair_files, mining=mining))
        shares[mining] = CALIBRATION.apply(wider.teacher.pair_scores()[48:])
    assert np.mean(shares["stratified"]) < np.mean(shares["nearest"])


def last_step(folder) -> int:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]


def test_train_with_a_pool_from_end_to_end(base_models, pair_files, taught, files, tmp_path):
    arguments = (*given(pair_files), *student(base_models["llama"], num_train_epochs=1), "--set", "mined_ratio=0")
    arguments += ("--teacher", taught, "--output_dir", tmp_path / "run", "--set", f"unlabelled_file={files['pairs']}")
    done = flipkd("train", *arguments, "--set", "unlabelled_ratio=1")
    assert done.code == 0, done.err
    assert last_step(tmp_path / "run") == 6  # 48 labelled and as many others, 16 a step
    assert "the labels in column label are ignored" in done.err
    assert "unlabelled/validation: " in done.err
    assert "rows of validation have a text of unlabelled (" in done.err
    moved = tmp_path / "moved.csv"
    content = Path(files["pairs"]).read_text(encoding="utf-8")
    moved.write_text(content, encoding="utf-8")
    again = [f"unlabelled_file={moved}" if "unlabelled_file" in str(argument) else argument for argument in arguments]
    done = flipkd("train", *again, "--set", "unlabelled_ratio=1")
    assert done.code == 0, done.err
    assert "nothing to do" in done.err
    moved.write_text(content + "one more,pair,,\n", encoding="utf-8")
    done = flipkd("train", *again, "--set", "unlabelled_ratio=1")
    assert done.code == 4
    assert "data.unlabelled has other content" in done.err


@pytest.mark.slow
def test_train_with_single_texts_or_without_a_teacher_objective(base_models, pair_files, taught, files, tmp_path):
    arguments = (*given(pair_files), *student(base_models["llama"], num_train_epochs=1), "--set", "mined_ratio=0")
    arguments += ("--teacher", taught, "--set", f"unlabelled_file={files['texts']}", "--set", "unlabelled_ratio=0.5")
    done = flipkd("train", *arguments, "--output_dir", tmp_path / "run")
    assert done.code == 0, done.err
    assert last_step(tmp_path / "run") == 5  # 48 + 24 pairs
    weights = [f"objectives.{name}=0" for name in ("pairwise_pref_kl", "margin_hinge", "in_batch_kl")]
    idle = [argument for weight in weights for argument in ("--set", weight)]
    done = flipkd("train", *arguments, *idle, "--output_dir", tmp_path / "idle")
    assert done.code == 0, done.err
    assert "unlabelled_file is ignored: no objective learns from the teacher" in done.err
    assert last_step(tmp_path / "idle") == 3


def test_train_rejects_an_unusable_pool_before_writing(base_models, pair_files, taught, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("one,two\na,b\n")
    arguments = (
        *given(pair_files),
        *student(base_models["llama"]),
        "--teacher",
        taught,
        "--output_dir",
        tmp_path / "run",
    )
    done = flipkd("train", *arguments, "--set", f"unlabelled_file={bad}")
    assert done.code == 3
    assert "bad.csv: no text columns found; it has 'one', 'two'" in done.err
    assert not (tmp_path / "run").exists()


def test_train_uses_out_of_fold_scores(pair_files, train_set, files, taught):
    teacher = StoredTeacher(taught)
    table = _table(train_set, teacher, trained_on=True)
    honest = table.teacher.with_out_of_fold(np.linspace(-1, 1, 48, dtype=np.float32))
    table = replace(table, teacher=honest)
    wider = add_pool_pairs(table, read_pool(files["pairs"]), teacher, CALIBRATION, settings(pair_files))
    wider = add_mined_pairs(wider, table, teacher, CALIBRATION, settings(pair_files))
    assert wider.teacher.score[:48].tolist() == honest.score.tolist()
    assert wider.teacher.out_of_fold.tolist() == [True] * 48 + [False] * (len(wider) - 48)
    product = np.einsum("nd,nd->n", wider.teacher.left[48:], wider.teacher.right[48:])
    assert wider.teacher.score[48:] == pytest.approx(product, abs=1e-6)


def test_require_pool_for_ratio_rejects_a_ratio_without_a_pool(base_models, pair_files, tmp_path):
    arguments = (*given(pair_files), *student(base_models["llama"]), "--output_dir", tmp_path / "run")
    done = flipkd("train", *arguments, "--set", "unlabelled_ratio=0.5")
    assert done.code == 4
    assert "unlabelled_ratio is 0.5, but unlabelled_file is not set" in done.err
    assert not (tmp_path / "run").exists()
