"""Model of the teacher: ensembles, and the better of pretrained and fine-tuned on validation."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from datasets import Dataset

from flipkd.commands import tuning
from flipkd.commands.teach import teach
from flipkd.config import TeachConfig
from flipkd.data.pairs import read_pairs
from flipkd.errors import ConfigError
from flipkd.teachers.stored_teacher import StoredTeacher
from flipkd.teachers.teacher import load_teacher

TEXTS = ["a text that is not stored", "another one"]


@pytest.fixture
def config(encoders, pair_files, tmp_path):
    def make(**changes):
        files = {f"{name}_file": pair_files[name] for name in ("train", "validation")}
        own = {"teacher_name_or_path": str(encoders / "bi"), "output_dir": str(tmp_path / "t"), "num_train_epochs": 1}
        return TeachConfig.check(files | own | changes)

    return make


def test_teach_with_members_makes_an_ensemble(config, tmp_path, pair_files):
    config = config(members=2, learning_rate=1e-3, seed=5)
    summary = teach(config)
    teacher = StoredTeacher(tmp_path / "t")
    dataset = read_pairs(pair_files["train"])
    signal = teacher.signal(dataset)
    assert signal.left.shape == (48, 32)
    members = [load_teacher(tmp_path / "t" / "model" / f"member-{n}", max_length=128) for n in (0, 1)]
    assert members[0].fingerprint != members[1].fingerprint
    seeds = [
        json.loads((tmp_path / "t" / "model" / f"member-{n}" / "finetune.json").read_text())["seed"] for n in (0, 1)
    ]
    assert seeds == [5, 6]
    cosines = [np.einsum("nd,nd->n", m.embed(dataset["text1"][:]), m.embed(dataset["text2"][:])) for m in members]
    assert signal.pair_scores() == pytest.approx(np.mean(cosines, axis=0), abs=1e-5)
    vectors = teacher.vectors(TEXTS)  # not stored: the models are asked
    assert vectors @ vectors.T == pytest.approx(sum(m.embed(TEXTS) @ m.embed(TEXTS).T for m in members) / 2, abs=1e-5)
    assert summary["fingerprint"] == teacher.model().fingerprint


def test_teach_with_members_resumes_after_a_stop(config, tmp_path, monkeypatch):
    made, config, stops = [], config(members=3), [True]
    one = tuning._finetune_member

    def watched(config, pairs, folder, **settings):
        if not folder.exists():
            made.append(folder.name)
        if folder.name == "member-1" and stops:
            stops.pop()
            (tmp_path / "t" / "model" / ".partial-1-member-1").mkdir()
            raise KeyboardInterrupt
        return one(config, pairs, folder, **settings)

    monkeypatch.setattr(tuning, "_finetune_member", watched)
    with pytest.raises(KeyboardInterrupt):
        teach(config)
    assert not (tmp_path / "t" / "teacher.json").exists()
    teach(config)
    assert made == ["member-0", "member-1", "member-1", "member-2"]
    assert sorted(p.name for p in (tmp_path / "t" / "model").iterdir()) == [
        "ensemble.json",
        *(f"member-{n}" for n in range(3)),
    ]


@pytest.mark.parametrize("wrong, members", [(True, 1), (False, 2)])
def test_fine_tune_auto_keeps_the_better_model(config, encoders, tmp_path, pair_files, wrong, members, caplog):
    rows = [f"{row['text1']},{row['text2']},{row['label'] ^ wrong}" for row in read_pairs(pair_files["train"])]
    train = tmp_path / "train.csv"
    train.write_text("text1,text2,label\n" + "\n".join(rows) + "\n")
    fast = {"num_train_epochs": 10, "learning_rate": 3e-3, "loss": "cosine"}
    files = {"train_file": str(train), "validation_file": pair_files["train"]}
    summary = teach(config(fine_tune="auto", members=members, **fast, **files))
    base = load_teacher(encoders / "bi", max_length=128)
    assert (summary["fingerprint"] == base.fingerprint) is wrong
    assert summary["fine_tuned"] is not wrong
    assert f"the {'pretrained' if wrong else 'fine-tuned'} model is used" in caplog.text
    teacher = StoredTeacher(tmp_path / "t")
    assert teacher.vectors(TEXTS).shape == (2, 16 if wrong else 16 * members)  # asks the model
    assert teacher.model().fingerprint == summary["fingerprint"]
    assert (tmp_path / "t" / "model").exists(), "a second call fine-tunes nothing"
    assert (tmp_path / "t" / "pretrained").exists() is wrong
    moved = shutil.move(tmp_path / "t", tmp_path / "moved")
    assert StoredTeacher(moved).model().fingerprint == summary["fingerprint"]
    if members == 1:
        assert load_teacher(moved, max_length=128).fingerprint == summary["fingerprint"], (
            "sentence-transformers loads it"
        )


def test_fine_tune_auto_without_validation_pairs_uses_the_fine_tuned_model(config):
    assert config().fine_tune == "auto"
    assert teach(config(validation_file=None))["fine_tuned"]


def test_require_consistent_rejects_conflicting_settings(config):
    with pytest.raises(ConfigError, match="members=2: teacher_type=scores has no model to fine-tune"):
        teach(config(members=2, teacher_type="scores"))


@pytest.mark.parametrize("after, message", [(0.799, False), (0.75, False), (0.6, True)])
def test_is_better_does_not_warn_of_a_small_difference(after, message, caplog, tmp_path):
    labels = np.array([0, 1] * 25)
    record = {"before": {"average_precision": 0.8}, "after": {"average_precision": after}}
    (tmp_path / "finetune.json").write_text(json.dumps(record))
    pairs = Dataset.from_dict({"text1": ["a"] * 50, "text2": ["b"] * 50, "label": labels.tolist()})
    assert not tuning._is_better(None, tmp_path, pairs, auto=False)
    assert ("made the teacher worse" in caplog.text) == message


def test_standard_error_shrinks_with_the_root_of_the_matches():
    few, many = (tuning.standard_error(0.8, np.ones(count)) for count in (25, 2500))
    assert few == pytest.approx(0.08)
    assert few / many == pytest.approx(10)
