"""require_weights: missing weights are refused with their names; an unused pooler and a new head may be missing."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from flipkd.errors import ArtefactError
from flipkd.teachers.finetune import finetune_teacher
from flipkd.teachers.teacher import load_teacher


def without(folder, place, names):
    """Copy of a model folder at `place` without the weights whose names start with `names`."""
    copy = shutil.copytree(folder, place)
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith(tuple(names))}
    assert len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.bias", "e"])
def test_require_weights_names_missing_weights(make_bi_encoder, tmp_path, name):
    with pytest.raises(ArtefactError, match=rf"{tmp_path}/m: \d+ weights are missing, for example {name}"):
        load_teacher(without(make_bi_encoder(), tmp_path / "m", [name]))


def test_load_teacher_accepts_weights_without_an_unused_pooler(make_bi_encoder, tmp_path):
    whole = load_teacher(make_bi_encoder(), device="cpu")
    lacking = load_teacher(without(make_bi_encoder(), tmp_path / "m", ["pooler."]), device="cpu")
    assert (whole.embed(["loan1 card2"]) == lacking.embed(["loan1 card2"])).all()


def test_load_teacher_refuses_weights_without_a_used_pooler(make_bi_encoder, tmp_path):
    folder = without(make_bi_encoder(), tmp_path / "m", ["pooler."])
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    settings["modality_config"]["text"]["method_output_name"] = "pooler_output"
    settings["module_output_name"] = "sentence_embedding"
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    with pytest.raises(ArtefactError, match=r"for example pooler\.dense\.bias"):
        load_teacher(folder)


@pytest.mark.parametrize(
    "names, message",
    [
        (
            ["classifier.weight"],
            r"1 weights are missing, for example classifier\.weight; the model has no trained scoring head",
        ),
        (
            ["bert.pooler"],
            r"2 weights are missing, for example bert\.pooler\.dense\.bias; they would be random numbers",
        ),
        (["bert.encoder", "classifier"], r"for example bert\.encoder\S+; they would be random numbers"),
    ],
)
def test_cross_encoder_needs_head_and_encoder_weights(cross_encoder_folder, tmp_path, names, message):
    with pytest.raises(ArtefactError, match=message):
        load_teacher(without(cross_encoder_folder, tmp_path / "m", names), kind="cross_encoder")


def test_new_head_may_be_missing_but_not_the_encoder(cross_encoder_folder, learnable, tmp_path):
    settings = {"kind": "cross_encoder", "num_train_epochs": 0.1, "seed": 1}
    headless = without(cross_encoder_folder, tmp_path / "headless", ["classifier"])
    finetune_teacher(headless, learnable, output_dir=tmp_path / "done", **settings)
    load_teacher(tmp_path / "done", kind="cross_encoder")
    lacking = without(cross_encoder_folder, tmp_path / "lacking", ["bert.encoder.layer.0.output", "classifier"])
    with pytest.raises(ArtefactError, match=r"for example bert\.encoder\.layer\.0\.output"):
        finetune_teacher(lacking, learnable, output_dir=tmp_path / "not", **settings)


def test_finetune_teacher_replaces_a_head_of_three_labels(cross_encoder_folder, learnable, tmp_path):
    import torch

    folder = shutil.copytree(cross_encoder_folder, tmp_path / "nli")
    weights = load_file(folder / "model.safetensors")
    weights |= {"classifier.weight": torch.ones(3, 16), "classifier.bias": torch.ones(3)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    labels = {"id2label": {str(i): str(i) for i in range(3)}, "label2id": {str(i): i for i in range(3)}}
    (folder / "config.json").write_text(json.dumps(config | labels))
    with pytest.raises(ArtefactError, match="returns 3 numbers per pair; a teacher must return one"):
        load_teacher(folder, kind="cross_encoder")
    made = finetune_teacher(
        folder, learnable, output_dir=tmp_path / "done", kind="cross_encoder", num_train_epochs=0.1, seed=1
    )
    assert load_teacher(made, kind="cross_encoder", device="cpu").score(["loan1"], ["card1"]).shape == (1,)
