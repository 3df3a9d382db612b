"""load_teacher and fingerprints: what changes them, and refused models."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from flipkd.errors import ArtefactError, ConfigError, RefusedError
from flipkd.teachers import teacher
from flipkd.teachers.teacher import canonical, fingerprint_of, load_teacher, tokenizer_hash, weights_hash


def fingerprint(folder, **settings) -> str:
    return load_teacher(folder, device="cpu", **settings).fingerprint


@pytest.mark.scenario("C5")
def test_fingerprint_changes_with_everything_that_affects_outputs(make_bi_encoder):
    plain = make_bi_encoder()
    prints = {
        "plain": fingerprint(plain),
        "weights": fingerprint(make_bi_encoder(seed=1)),
        "tokenizer": fingerprint(make_bi_encoder(extra="mortgage")),
        "prompt": fingerprint(plain, prompt="query: "),
        "max_length": fingerprint(plain, max_length=8),
        "dtype": fingerprint(plain, dtype="bfloat16"),
        "pooling": fingerprint(make_bi_encoder(pooling="cls")),
    }
    assert len(set(prints.values())) == len(prints), prints


def test_truncate_dim_changes_the_fingerprint(make_bi_encoder, tmp_path):
    folder = shutil.copytree(make_bi_encoder(), tmp_path / "cut")
    before = load_teacher(folder, device="cpu")
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings | {"truncate_dim": 4}))
    cut = load_teacher(folder, device="cpu")
    assert (before.embed(["pin"]).shape, cut.embed(["pin"]).shape) == ((1, 16), (1, 4))
    assert before.fingerprint != cut.fingerprint
    assert before.describe().keys() == cut.describe().keys() - {"truncate_dim"}


def test_load_teacher_loads_static_embeddings(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tiny import build_tokenizer

    words = StaticEmbedding(build_tokenizer().backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[words], device="cpu").save_pretrained(str(tmp_path), create_model_card=False)
    for length in (None, 128):
        teacher = load_teacher(tmp_path, max_length=length, device="cpu")
        assert teacher.embed(["my card", "pin"]).shape == (2, 8)
        assert json.loads(json.dumps(teacher.describe()))["max_length"] is None
        assert teacher.fingerprint == load_teacher(tmp_path, device="cpu").fingerprint


def test_fingerprint_ignores_what_does_not_affect_outputs(make_bi_encoder, tmp_path):
    import shutil

    plain = make_bi_encoder()
    moved = shutil.copytree(plain, tmp_path / "moved")
    teacher = load_teacher(moved, device="cpu", batch_size=3)
    assert teacher.fingerprint == fingerprint(plain)
    teacher.embed(["loan1 card2"])  # leaves padding and truncation behind in the tokenizer
    assert tokenizer_hash(teacher.model.tokenizer) == teacher.describe()["tokenizer"]
    assert fingerprint(plain, max_length=1000) == fingerprint(plain), (
        "a length that the model cannot read is cut to its own"
    )


def test_describe_is_json_and_gives_the_fingerprint(make_bi_encoder):
    teacher = load_teacher(make_bi_encoder(prompt="query: "), device="cpu")
    described = json.loads(json.dumps(teacher.describe(), allow_nan=False))
    assert fingerprint_of(described) == teacher.fingerprint
    assert described["prompt"] == "query: "
    assert (described["kind"], described["dtype"], described["max_length"]) == ("bi_encoder", "float32", 32)


def test_fingerprint_of_ignores_only_the_name():
    assert fingerprint_of({"name": "a", "kind": "x"}) == fingerprint_of({"kind": "x", "name": "b"})
    assert fingerprint_of({"name": "a", "kind": "x"}) != fingerprint_of({"name": "a", "kind": "y"})
    assert canonical({"b": 1, "a": "é"}) == canonical({"a": "é", "b": 1})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_weights_hash_sees_one_changed_bit_and_the_shape(dtype):
    module = torch.nn.Module()
    module.register_buffer("x", torch.zeros(2, 3, dtype=getattr(torch, dtype)))
    before = weights_hash(module)
    assert weights_hash(module) == before
    module.x[1, 2] = 1
    changed = weights_hash(module)
    module.x = torch.zeros(3, 2, dtype=getattr(torch, dtype))
    assert len({before, changed, weights_hash(module)}) == 3


def test_tokenizer_hash_works_without_a_rust_backend():
    class Slow:
        def __init__(self, text: str) -> None:
            self.text = text

        def save_pretrained(self, folder) -> None:
            from pathlib import Path

            Path(folder, "vocabulary.txt").write_text(self.text)

    assert tokenizer_hash(Slow("a")) == tokenizer_hash(Slow("a")) != tokenizer_hash(Slow("b"))


def test_unknown_kind_and_dtype_name_what_is_allowed(make_bi_encoder):
    with pytest.raises(ConfigError, match=r"bi_encoder.*allowed: bi_encoder, cross_encoder"):
        load_teacher("x", kind="biencoder")
    with pytest.raises(ConfigError, match="allowed: float32, bfloat16, float16"):
        load_teacher(make_bi_encoder(), dtype="fp32")


@pytest.mark.parametrize("content", [{}, {"config.json": "{}"}, {"config.json": "{"}, {"modules.json": "[]"}])
@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
def test_load_teacher_refuses_other_folders_with_one_sentence(tmp_path, content, kind):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ArtefactError) as caught:
        load_teacher(tmp_path, kind=kind)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.scenario("X1", "X2")
def test_load_teacher_refuses_pickled_weights_and_remote_code(make_bi_encoder, tmp_path):
    import shutil

    folder = shutil.copytree(make_bi_encoder(), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RefusedError, match="save the model again as safetensors"):
        load_teacher(folder)
    folder = shutil.copytree(make_bi_encoder(), tmp_path / "code")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "os.path.join"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(RefusedError, match=r"modules\.json: type is 'os\.path\.join'; allowed: sentence_transformers"):
        load_teacher(folder)


@pytest.mark.scenario("X1")
def test_load_model_never_reads_a_pickle(make_bi_encoder, tmp_path, monkeypatch):
    folder = shutil.copytree(make_bi_encoder(), tmp_path / "pickled")
    checked = teacher.checked_model(str(folder))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(teacher, "checked_model", lambda _: checked)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with pytest.raises(ArtefactError, match="without a usable model"):
        load_teacher(folder)
