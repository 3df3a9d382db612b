"""Functions of the systems: importable, and correct scores of the baselines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flipkd.comparison.entries import Entry
from flipkd.comparison.results import metrics_of
from flipkd.comparison.scorers import always_match, teacher, tfidf
from flipkd.comparison.scores import Split
from flipkd.comparison.systems import SYSTEMS, system_named
from flipkd.data.labels import labels_of
from flipkd.data.pairs import pairs_of, read_pairs
from flipkd.errors import DataError
from flipkd.tables import pick


def test_system_functions_can_be_imported():
    assert all(callable(pick({}, system.run, what="system")) for system in SYSTEMS.values())
    assert callable(pick({}, system_named("plain+flipped").run, what="system"))


def test_teacher_returns_the_given_scores(run, tmp_path):
    rows = [("a", "b", 1, 0.9), ("c", "d", 0, 0.2)]
    (tmp_path / "s.csv").write_text("text1,text2,label,score\n" + "".join(f"{a},{b},{y},{s}\n" for a, b, y, s in rows))
    scored = read_pairs(str(tmp_path / "s.csv"))
    run = replace(run, entry=Entry("t", SYSTEMS["teacher_finetuned"], {"teacher_type": "scores"}, {}))
    split = teacher(replace(run, sets=dict.fromkeys(("train", "validation", "test"), scored)))["score"]
    assert split.test.tolist() == pytest.approx([0.9, 0.2])
    with pytest.raises(DataError, match="validation: no score column"):
        teacher(replace(run, sets=dict.fromkeys(("validation", "test"), scored.remove_columns("score"))))


def test_tfidf_is_a_cosine_fitted_on_training_texts(run):
    split = tfidf(run)["cosine"]
    assert split.validation.shape == split.test.shape == (24,)
    assert split.test.min() >= 0
    assert split.test.max() <= 1 + 1e-9
    same = [i for i, (a, b) in enumerate(pairs_of(run.sets["test"])) if a == b]
    assert split.test[same] == pytest.approx(1)
    changed = replace(run, sets=run.sets | {"test": run.sets["test"].select([5])})
    assert tfidf(changed)["cosine"].test == pytest.approx(split.test[[5]])


def test_always_match_scores_every_pair_alike(run):
    label = labels_of(run.sets["test"])
    found = metrics_of(always_match(run), run.sets, chosen=None)["metrics"]["test"]
    share = label.mean()
    assert (found["recall"], found["precision"], found["roc_auc"]) == (1, share, 0.5)
    assert found["average_precision"] == pytest.approx(share)
    assert found["f1"] == pytest.approx(2 * share / (1 + share))
    assert found["ece"] < 0.1  # of a sigmoid of the share of matches


def test_metrics_of_chooses_a_symmetric_score_only_by_name(run):
    labels = {name: labels_of(run.sets[name]).astype(float) for name in ("validation", "test")}
    right, wrong = (Split(sign * labels["validation"], sign * labels["test"]) for sign in (1, -1))
    scores = {"answer": wrong, "answer_symmetric": right}
    assert metrics_of(scores, run.sets, chosen=None)["score"] == "answer"
    assert metrics_of(scores, run.sets, chosen="answer_symmetric")["score"] == "answer_symmetric"
