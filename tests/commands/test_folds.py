"""Out-of-fold scores: by models without the texts of a pair, cached by fold, read with the teacher."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import flipkd
from tiny import SENTENCES

from flipkd.commands import folds as stage
from flipkd.commands.teach import teach
from flipkd.config import TeachConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs
from flipkd.errors import ArtefactError, ConfigError, DataError
from flipkd.evaluate import measure
from flipkd.teachers.stored_teacher import StoredTeacher
from flipkd.teachers.teacher import load_teacher

FOLDS = 3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> str:
    """30 pairs in 10 blocks of shared texts, 6 of them without a label."""
    path = tmp_path_factory.mktemp("blocks") / "train.csv"
    rows = [
        f"{SENTENCES[i % 8]} {block},{SENTENCES[(i + 3 + 2 * (i % 2)) % 8]} {block},{'' if i == 2 and block < 6 else i % 2}"
        for block in range(10)
        for i in range(3)
    ]
    path.write_text("text1,text2,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def settings(encoders, pairs, folder, **changes):
    values = {"train_file": pairs, "teacher_name_or_path": str(encoders / "bi"), "output_dir": str(folder)}
    return TeachConfig.check(
        {
            **values,
            "folds": FOLDS,
            "num_train_epochs": 1,
            "per_device_train_batch_size": 6,
            "learning_rate": 1e-3,
            **changes,
        }
    )


class Watched:
    """Counts the members' fine-tunings and scorings, and stops at one of them."""

    def __init__(self, monkeypatch, *, stop_at: int | None = None) -> None:
        self.trained, self.scored, self.left = [], [], stop_at
        self.finetune = stage.finetune
        monkeypatch.setattr(stage, "finetune", self._counted_finetune)
        self.scorer = stage._scorer
        monkeypatch.setattr(stage, "_scorer", self._watched_scorer)

    def _watched_scorer(self, config, pairs, folder):
        score = self.scorer(config, pairs, folder)

        def watched(left, right):
            scores = score(left, right)
            self._count()
            self.scored.append(set(left) | set(right))
            return scores

        return watched

    def _count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    def _counted_finetune(self, config, pairs, folder):
        self._count()
        self.trained.append({*pairs["text1"][:], *pairs["text2"][:]})
        assert -1 not in labels_of(pairs)
        return self.finetune(config, pairs, folder)


@pytest.fixture(scope="module")
def crossed(encoders, pairs, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("crossed") / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        teach(settings(encoders, pairs, folder))
    assert len(watched.trained) == len(watched.scored) == FOLDS
    for trained, scored in zip(watched.trained, watched.scored, strict=True):
        assert trained
        assert scored
        assert not trained & scored, "a member scored a pair of whose texts it had seen one"
    return folder


@pytest.mark.slow
def test_cross_fit_scores_only_training_pairs(crossed, pairs):
    dataset = read_pairs(pairs)
    label = labels_of(dataset)
    teacher = StoredTeacher(crossed)
    plain, signal = teacher.signal(dataset), teacher.signal(dataset, out_of_fold=True)
    assert plain.score is None
    assert signal.out_of_fold.tolist() == (label >= 0).tolist()
    assert signal.left.tolist() == plain.left.tolist()
    own = plain.pair_scores()
    assert signal.pair_scores()[label < 0].tolist() == own[label < 0].tolist()
    assert np.abs(signal.pair_scores() - own)[label >= 0].min() > 0
    recorded = json.loads((teacher.folder / "teacher.json").read_text())
    known = np.flatnonzero(label >= 0)
    assert recorded["out_of_fold"] == measure(signal.pair_scores()[known], label[known])
    assert recorded["train"] != recorded["out_of_fold"]
    assert recorded["folds"]["apart_by"] == "texts"
    assert not (teacher.folder / "folds" / "models").exists()


def test_cross_fit_scores_a_fold_by_a_model_of_the_other_folds(crossed, encoders, pairs, tmp_path):
    from flipkd.commands.tuning import finetune
    from flipkd.data.folds import cut_folds

    config = settings(encoders, pairs, tmp_path)
    dataset = read_pairs(pairs)
    dataset = dataset.select(np.flatnonzero(labels_of(dataset) >= 0))
    number = cut_folds(dataset, FOLDS, seed=config.seed).number
    folder = finetune(config, dataset.select(np.flatnonzero(number != 2)), tmp_path / "member")
    member = load_teacher(folder, max_length=config.max_length)
    inside = dataset.select(np.flatnonzero(number == 2))
    expected = np.einsum("nd,nd->n", member.embed(inside["text1"][:]), member.embed(inside["text2"][:]))
    found = StoredTeacher(crossed).signal(inside, out_of_fold=True).score
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("stop_at", [1, 2])  # after the first member's fine-tuning, before the second's
def test_cross_fit_resumes_after_a_stop(crossed, encoders, pairs, tmp_path, stop_at, monkeypatch):
    config = settings(encoders, pairs, tmp_path / "t")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Watched(patch, stop_at=stop_at)
        teach(config)
    model = (tmp_path / "t" / "model" / "model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        watched = Watched(patch)
        teach(config)
    assert len(watched.scored) == FOLDS - stop_at // 2, "a fold that was scored is not scored again"
    assert (tmp_path / "t" / "model" / "model.safetensors").stat().st_mtime_ns == model
    dataset = read_pairs(pairs)
    scores = [StoredTeacher(f).signal(dataset, out_of_fold=True).score for f in (tmp_path / "t", crossed)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    with monkeypatch.context() as patch:
        watched = Watched(patch)
        teach(config)
    assert watched.trained == []


def test_stored_scores_reports_lost_scores_and_teach_recomputes_them(crossed, encoders, pairs, tmp_path):
    import shutil

    folder = tmp_path / "t"
    shutil.copytree(crossed, folder)
    part = next(folder.glob("folds/*/part-*"))
    part.write_bytes(part.read_bytes()[:-1])
    dataset = read_pairs(pairs)
    with pytest.raises(
        ArtefactError, match=r"16 out-of-fold scores, expected 24; run the same flipkd teach command again"
    ):
        StoredTeacher(folder).signal(dataset, out_of_fold=True)
    assert StoredTeacher(folder).signal(dataset).score is None, "who needs none is not kept from working"
    teach(settings(encoders, pairs, folder))
    again = StoredTeacher(folder).signal(dataset, out_of_fold=True).score
    assert again == pytest.approx(StoredTeacher(crossed).signal(dataset, out_of_fold=True).score, abs=1e-6)


def test_stored_teacher_signal_warns_of_pairs_that_were_not_cross_fitted(crossed, pair_files, caplog):
    signal = StoredTeacher(crossed).signal(read_pairs(pair_files["train"]), out_of_fold=True)
    assert not signal.out_of_fold.any()
    assert "48 of 48 labelled training pairs have no out-of-fold score" in caplog.text


def test_cross_fit_with_a_cross_encoder(encoders, pairs, tmp_path):
    values = {"teacher_name_or_path": str(encoders / "cross"), "teacher_type": "cross_encoder", "folds": 2}
    teach(settings(encoders, pairs, tmp_path / "t", **values))
    dataset, teacher = read_pairs(pairs), StoredTeacher(tmp_path / "t")
    known = labels_of(dataset) >= 0
    own, signal = teacher.signal(dataset).score, teacher.signal(dataset, out_of_fold=True)
    assert signal.left is None
    assert (signal.score != own).tolist() == signal.out_of_fold.tolist() == known.tolist()


def test_teach_warns_when_folds_share_texts(encoders, pair_files, tmp_path):
    arguments = ["--train_file", pair_files["train"], "--teacher_name_or_path", encoders / "bi", "--set", "folds=2"]
    done = flipkd("teach", *arguments, "--set", "num_train_epochs=1", "--output_dir", tmp_path / "t")
    assert done.code == 0, done.err
    assert "| metric " in done.out.splitlines()[0]
    assert "out_of_fold" in done.out.splitlines()[0]
    assert "folds: one block of connected texts has too many of the 48 training pairs" in done.err


def test_teach_rejects_or_ignores_folds_without_fine_tuning(encoders, pairs, pair_files, tmp_path):
    with pytest.raises(ConfigError, match="folds=3: teacher_type=scores has no model to fine-tune"):
        teach(settings(encoders, pair_files["train"], tmp_path / "s", teacher_type="scores"))
    assert not (tmp_path / "s").exists()
    with pytest.raises(DataError, match="24 labelled rows are too few for 100 folds"):
        teach(settings(encoders, pairs, tmp_path / "m", folds=100))
    summary = teach(settings(encoders, pairs, tmp_path / "raw", fine_tune=False))
    assert "out_of_fold" not in summary
    assert StoredTeacher(tmp_path / "raw").signal(read_pairs(pairs), out_of_fold=True).score is None
