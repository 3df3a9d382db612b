"""A finished matcher as the teacher of another run: scores, vectors, what is stored, refused and kept."""

from __future__ import annotations

import logging
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from command_line import flipkd, given, student

from flipkd import Matcher
from flipkd.commands.matcher_teacher import MatcherTeacher, open_teacher
from flipkd.commands.pairs import trainable_pairs
from flipkd.commands.pool import add_mined_pairs
from flipkd.commands.train import _table
from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.student.contract import read_contract
from flipkd.teachers.stored_teacher import StoredTeacher
from flipkd.training.thresholds import teacher_calibration


@pytest.fixture
def folder(with_teacher, tmp_path) -> Path:
    """A copy of a run whose matcher keeps a bi-encoder: its scores are stored beside the matcher."""
    return shutil.copytree(with_teacher, tmp_path / "first")


@pytest.fixture
def sets(pair_files):
    return {name: trainable_pairs(pair_files[name], columns=None, name=name) for name in ("train", "validation")}


def pairs_of(dataset):
    return list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))


def test_the_score_of_a_matcher_is_the_cosine_that_is_as_sure(folder, sets, taught, caplog):
    caplog.set_level(logging.WARNING)
    teacher = open_teacher(folder, validation=sets["validation"])
    table = _table(sets["train"], teacher, trained_on=True)
    assert caplog.text.count("was trained on these training pairs") == 1
    validation = _table(sets["validation"], teacher, trained_on=False)
    stored = StoredTeacher(taught).signal(sets["train"])
    np.testing.assert_allclose(table.teacher.left, stored.left, atol=1e-6)
    np.testing.assert_allclose(table.teacher.right, stored.right, atol=1e-6)
    matcher = Matcher.from_pretrained(folder)
    own = matcher.predict(pairs_of(sets["train"]))
    assert np.corrcoef(own, table.teacher.score)[0, 1] == pytest.approx(1, abs=1e-5)
    # On the scale of cosines the same probability as by the matcher's own calibration, fitted on the same pairs.
    expected = matcher.calibration.apply(own)
    np.testing.assert_allclose(teacher_calibration(table, validation).apply(table.teacher.score), expected, atol=1e-3)
    cosines = StoredTeacher(taught).signal(sets["validation"]).pair_scores()
    encoder = fit_calibration(cosines, validation.label, method="sigmoid")
    np.testing.assert_allclose(encoder.apply(table.teacher.score), expected, atol=1e-3)


def test_each_output_of_a_matcher_is_computed_once(folder, sets, pair_files, monkeypatch):
    teacher = MatcherTeacher(folder / "matcher", validation=sets["validation"])
    table = _table(sets["train"], teacher, trained_on=True)
    validation = _table(sets["validation"], teacher, trained_on=False)
    config = TrainConfig.check({**{f"{name}_file": pair_files[name] for name in sets}, "mined_ratio": 0.25})
    wider = add_mined_pairs(table, table, teacher, teacher_calibration(table, validation), config)
    mined = list(zip(wider.left[48:], wider.right[48:], strict=True))
    assert len(mined) == 12
    models = [weakref.ref(teacher._matcher.student), weakref.ref(teacher._kept_model)]
    teacher.close()
    assert [model() for model in models] == [None, None], "their memory is free"
    slope, intercept = np.polyfit(
        Matcher.from_pretrained(folder).predict(pairs_of(sets["train"])), table.teacher.score, 1
    )
    expected = slope * Matcher.from_pretrained(folder).predict(mined) + intercept
    np.testing.assert_allclose(wider.teacher.score[48:], expected, atol=1e-4)
    assert (folder / "matcher-scores" / "matcher").is_dir()
    monkeypatch.setattr(Matcher, "from_pretrained", None)
    again = MatcherTeacher(folder, validation=sets["validation"])
    assert np.array_equal(again.signal(sets["train"]).score, table.teacher.score)
    assert np.array_equal(again.pair_signal(*zip(*mined, strict=True)).score, wider.teacher.score[48:])


def test_a_damaged_matcher_is_no_teacher(folder, sets):
    (folder / "matcher" / "matcher.json").write_text("{}")
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        open_teacher(folder, validation=sets["validation"])


def train(pair_files, base_models, output_dir, *arguments, **settings):
    words = (*given(pair_files), *student(base_models["llama"], num_train_epochs=1, **settings))
    return flipkd("train", *words, *arguments, "--output_dir", output_dir)


def test_a_matcher_teaches_its_successor_which_keeps_the_encoder(base_models, pair_files, folder, tmp_path):
    arguments = ("--teacher", folder, "--init_from", folder)
    done = train(pair_files, base_models, tmp_path / "second", *arguments, keep_teacher="true")
    assert done.code == 0, done.err
    assert "overconfident" in done.err
    first, second = (read_contract(run / "matcher") for run in (folder, tmp_path / "second"))
    assert second.teacher == first.teacher
    cards = [(run / "matcher" / "README.md").read_text() for run in (folder, tmp_path / "second")]
    lines = [next(line for line in card.splitlines() if "`teacher/`: made from" in line) for card in cards]
    assert lines[0] == lines[1]
    assert "It learned from labelled pairs and from an earlier matcher" in cards[1]
    matcher = Matcher.from_pretrained(tmp_path / "second")
    assert np.isfinite(matcher.predict([("my card", "a card")])).all()
    done = train(pair_files, base_models, tmp_path / "answer", *arguments, "--objectives.answer_with_teacher", "1")
    assert (done.code, "has a matcher, which cannot be kept" in done.err) == (4, True), done.err


def test_a_matcher_without_an_encoder_teaches_the_answer_alone(base_models, pair_files, tmp_path):
    plain = ("--set", "objectives={answer_cross_entropy: 1}")
    assert train(pair_files, base_models, tmp_path / "first", *plain).code == 0
    arguments = ("--teacher", tmp_path / "first", "--init_from", tmp_path / "first")
    done = train(pair_files, base_models, tmp_path / "second", *arguments)
    assert done.code == 4
    assert "embeddings of a bi-encoder" in done.err
    assert "set --objectives.in_batch_kl 0" in done.err
    kd = ("--set", "objectives={answer_cross_entropy: 1, pairwise_pref_kl: 1}")
    done = train(pair_files, base_models, tmp_path / "second", *arguments, *kd)
    assert done.code == 0, done.err
    assert read_contract(tmp_path / "second" / "matcher").teacher is None
    for settings, words in (({"mined_ratio": 1}, "mined_ratio needs"), ({"keep_teacher": "true"}, "keeps no teacher")):
        done = train(pair_files, base_models, tmp_path / "third", *arguments, *kd, **settings)
        assert (done.code, words in done.err) == (4, True), done.err
