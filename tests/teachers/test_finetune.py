"""finetune_teacher: bi-encoders and cross-encoders learn; seeds, prompts, precision and refused inputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flipkd.errors import ConfigError, DataError, NumbersError, ResourceError
from flipkd.evaluate.metrics import measure
from flipkd.files import check_manifest
from flipkd.teachers.finetune import KINDS, LOSSES, finetune_teacher
from flipkd.teachers.teacher import VectorTeacher, load_teacher

FAST = {"num_train_epochs": 8, "learning_rate": 1e-2, "per_device_train_batch_size": 16, "warm_start_pairs": 0}
# In a bigger batch nearly every "other" text would be of the same kind as the anchor: a false negative.
FITTING = {"mnrl": {**FAST, "per_device_train_batch_size": 4, "num_train_epochs": 12}}


def record(folder):
    return json.loads((folder / "finetune.json").read_text())


def scores_of(teacher, pairs):
    """Scores summed in the order of the product: another order may swap the ranks of nearly equal scores."""
    left, right = pairs["text1"][:], pairs["text2"][:]
    if isinstance(teacher, VectorTeacher):
        return np.einsum("nd,nd->n", teacher.embed(left), teacher.embed(right))
    return teacher.score(left, right)


@pytest.mark.slow
@pytest.mark.parametrize("loss", list(LOSSES))
def test_finetune_teacher_trains_a_bi_encoder(make_bi_encoder, learnable, tmp_path, loss, capfd):
    folder = finetune_teacher(
        make_bi_encoder(),
        learnable,
        output_dir=tmp_path / "out",
        validation=learnable,
        loss=loss,
        **FITTING.get(loss, FAST),
    )
    check_manifest(folder)
    told = record(folder)
    assert told["after"]["average_precision"] > max(0.9, told["before"]["average_precision"])
    assert (told["loss"], told["pairs"], told["max_length"], told["seed"]) == (loss, 96, 32, 0)
    teacher = load_teacher(folder, device="cpu")
    again = measure(scores_of(teacher, learnable), np.array(learnable["label"][:]))["average_precision"]
    assert again == pytest.approx(told["after"]["average_precision"]), "what was saved is what was measured"
    assert capfd.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert not list(folder.glob("checkpoint-*"))
    assert not (folder / "README.md").exists(), "a card would quote training texts"


@pytest.mark.slow
def test_finetune_teacher_trains_a_cross_encoder_with_a_new_head(make_bi_encoder, learnable, tmp_path):
    folder = finetune_teacher(
        make_bi_encoder(),
        learnable,
        output_dir=tmp_path / "out",
        kind="cross_encoder",
        validation=learnable,
        **{**FAST, "num_train_epochs": 25},
    )
    told = record(folder)
    assert told["before"] is None, "a random head is no model to keep"
    assert told["after"]["average_precision"] > 0.9
    teacher = load_teacher(folder, kind="cross_encoder", device="cpu")
    scores = teacher.score(learnable["text1"][:], learnable["text2"][:])
    assert scores.min() < 0 < 1 < scores.max()


@pytest.mark.slow
def test_new_cross_encoder_has_a_warm_start(make_bi_encoder, learnable, tmp_path):
    base = finetune_teacher(make_bi_encoder(), learnable, output_dir=tmp_path / "bi", **FAST)
    hardly = {"num_train_epochs": 0.01, "learning_rate": 1e-3, "per_device_train_batch_size": 16}

    def tuned(name_or_path, pairs):
        folder = tmp_path / f"{name_or_path.name}-{pairs}"
        return finetune_teacher(
            name_or_path,
            learnable,
            output_dir=folder,
            kind="cross_encoder",
            validation=learnable,
            warm_start_pairs=pairs,
            **hardly,
        )

    cold, warm = (record(tuned(base, pairs)) for pairs in (0, 2400))
    assert (cold["warm_start_pairs"], warm["warm_start_pairs"]) == (0, 2400)
    assert cold["before"] == warm["before"]
    assert warm["after"]["average_precision"] > max(0.9, cold["after"]["average_precision"] + 0.2)
    assert warm["learning_rate"] == 1e-3, "that of the labels"
    again = record(tuned(tmp_path / "bi-2400", 2400))
    assert again["warm_start_pairs"] == 0, "it has a head by now"
    assert again["before"] == pytest.approx(warm["after"], rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_those_of_the_saved_model_after_mixed_precision(make_bi_encoder, learnable, tmp_path, kind):
    folder = finetune_teacher(
        make_bi_encoder(), learnable, output_dir=tmp_path / "out", validation=learnable, kind=kind, bf16=True, **FAST
    )
    teacher = load_teacher(folder, kind=kind, device="cpu")
    again = measure(scores_of(teacher, learnable), np.array(learnable["label"][:]))
    # The threshold is a score itself: bfloat16, good to three digits, shows in it even where no rank changes.
    assert record(folder)["after"] == pytest.approx(again, rel=1e-4)


def test_loss_without_labels_gets_positives_only(make_bi_encoder, learnable, tmp_path):
    settings = {**FITTING["mnrl"], "num_train_epochs": 1}
    weights = [
        load_teacher(
            finetune_teacher(make_bi_encoder(), learnable, output_dir=tmp_path / str(at), loss=loss, **settings),
            device="cpu",
        ).describe()["weights"]
        for at, loss in enumerate(["mnrl", LOSSES["mnrl"]])
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
def test_weights_depend_on_the_seed(make_bi_encoder, learnable, tmp_path, kind):
    settings = {"kind": kind, "num_train_epochs": 1, "warm_start_pairs": 32}
    weights = [
        load_teacher(
            finetune_teacher(make_bi_encoder(), learnable, output_dir=tmp_path / name, seed=seed, **settings),
            kind=kind,
            device="cpu",
        ).describe()["weights"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert weights[0] == weights[1] != weights[2]


def prompts_seen(monkeypatch) -> list[str | None]:
    from sentence_transformers import SentenceTransformer

    seen, plain = [], SentenceTransformer.preprocess

    def preprocess(self, inputs, prompt=None, **rest):
        if self.training:
            seen.append(prompt)
        return plain(self, inputs, prompt=prompt, **rest)

    monkeypatch.setattr(SentenceTransformer, "preprocess", preprocess)
    return seen


@pytest.mark.parametrize(
    ("own", "given", "used"), [("query: ", None, "query: "), (None, "query: ", "query: "), ("query: ", "", "")]
)
def test_prompt_is_applied_in_training_and_saved(make_bi_encoder, learnable, tmp_path, monkeypatch, own, given, used):
    seen = prompts_seen(monkeypatch)
    folder = finetune_teacher(
        make_bi_encoder(prompt=own), learnable, output_dir=tmp_path / "out", num_train_epochs=1, prompt=given
    )
    assert {prompt or "" for prompt in seen} == {used}
    assert load_teacher(folder, device="cpu").describe()["prompt"] == used
    assert (record(folder)["prompt"], record(folder)["before"]) == (used, None)


def test_finetune_teacher_refuses_invalid_inputs_before_training(make_bi_encoder, learnable, tmp_path):
    out = {"output_dir": tmp_path / "out"}
    with pytest.raises(DataError, match=r"no column \['label'\]"):
        finetune_teacher("x", learnable.remove_columns("label"), **out)
    with pytest.raises(DataError, match=r"row 0 has the label None \(96 such rows\)"):
        finetune_teacher("x", learnable.map(lambda _: {"label": None}), **out)
    with pytest.raises(DataError, match=r"only the labels \[1\]"):
        finetune_teacher("x", learnable.filter(lambda row: row["label"] == 1), kind="cross_encoder", **out)
    with pytest.raises(ConfigError, match="to fine-tune: 'cross-encoder'; did you mean 'cross_encoder'"):
        finetune_teacher("x", learnable, kind="cross-encoder", **out)
    with pytest.raises(ConfigError, match="no loss is called 'cosnet'; did you mean"):
        finetune_teacher(make_bi_encoder(), learnable, loss="cosnet", **out)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(ResourceError, match="exists already"):
        finetune_teacher(make_bi_encoder(), learnable, **out)


def test_finetune_teacher_leaves_no_model_after_an_infinite_loss(make_bi_encoder, learnable, tmp_path):
    with pytest.raises(NumbersError, match="use a lower learning_rate"):
        finetune_teacher(make_bi_encoder(), learnable, output_dir=tmp_path / "out", learning_rate=1e38)
    assert list(tmp_path.iterdir()) == []
