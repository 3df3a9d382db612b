"""Save, load, merge and compile a student; wrong base models, damaged folders, unknown names."""

import json
import shutil

import pytest
import torch
from tiny import build_model, build_tokenizer, randomise

from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import new_folder, write_manifest
from flipkd.student.contract import FORMAT
from flipkd.student.language_model import load_language_model
from flipkd.student.loading import load_student
from flipkd.student.scoring import encode_texts, score_pairs

LEFT = ["my card was stolen yesterday", "pin", "where is my transfer"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee"]


def save(student, contract, folder):
    with new_folder(folder) as temporary:
        student.save(temporary, contract)
    return folder


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma3"])
@pytest.mark.parametrize("merge", [False, True])
def test_load_student_gives_the_same_scores(make_student, tmp_path, family, merge):
    student, contract = make_student(family)
    randomise(student)
    before = score_pairs(student, LEFT, RIGHT, return_embeddings=True)
    vectors = encode_texts(student, LEFT)
    folder = save(student, contract, tmp_path / "m")
    loaded, read = load_student(folder, merge=merge)
    after = score_pairs(loaded, LEFT, RIGHT, return_embeddings=True)
    assert after.answer == pytest.approx(before.answer, abs=1e-5)
    assert after.cosine == pytest.approx(before.cosine, abs=1e-5)
    assert encode_texts(loaded, LEFT) == pytest.approx(vectors, abs=1e-5)
    assert read == contract
    if merge:
        assert not any("lora" in name for name, _ in loaded.named_parameters())


def unique_graphs() -> int:
    """Return the number of graphs that torch.compile has compiled in this process."""
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of inductor and dynamo, about themselves
def test_compile_layers_keeps_outputs_and_gradients(make_student, base_models, tmp_path, monkeypatch):
    """With two layers: the first, whose input has no gradient, and one with a readout; each is a compilation."""
    shutil.copytree(base_models["llama"], tmp_path / "base")
    build_model("llama", vocabulary=len(build_tokenizer()), layers=2).save_pretrained(tmp_path / "base")
    monkeypatch.setitem(base_models, "llama", tmp_path / "base")
    found = []
    for torch_compile in (False, True):
        student = randomise(make_student("llama", torch_compile=torch_compile)[0])
        output = student(student.collate(LEFT, RIGHT, return_embeddings=True))
        (output.answers.sum() + (output.left * output.right).sum()).backward()
        gradients = [p.grad for p in student.parameters() if p.requires_grad]
        found.append([output.answers, output.left, output.right, *gradients])
        compiled = unique_graphs()
        found[-1].append(torch.from_numpy(score_pairs(student, LEFT, RIGHT).answer))
        assert unique_graphs() == compiled  # scoring with a prefix cache runs the layers in eager mode
    assert len(found[0]) > 20
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*found, strict=True))


def test_compile_layers_needs_a_compiler(make_student, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch_compile needs a C"):
        make_student("llama", torch_compile=True)


@pytest.mark.scenario("A4")
def test_load_student_refuses_another_base_model(make_student, base_models, tmp_path):
    student, contract = make_student("llama")
    folder = save(student, contract, tmp_path / "m")
    tokenizer = build_tokenizer()
    for name, other in {
        "same shape": build_model("llama", vocabulary=len(tokenizer), seed=5),
        "deeper": build_model("llama", vocabulary=len(tokenizer), layers=4),
        "shallower": build_model("llama", vocabulary=len(tokenizer), layers=2),
    }.items():
        other.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        with pytest.raises(ArtefactError, match="hash"):
            load_student(folder, base_model=str(tmp_path / name))
    load_student(folder, base_model=str(base_models["llama"]))


@pytest.mark.scenario("A2")
def test_load_student_refuses_any_damaged_file(make_student, tmp_path):
    student, contract = make_student()
    folder = save(student, contract, tmp_path / "m")
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        broken = tmp_path / "broken"
        shutil.copytree(folder, broken)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        (broken / file.relative_to(folder)).write_bytes(bytes(content))
        with pytest.raises(ArtefactError, match="sha256 mismatch"):
            load_student(broken)
        shutil.rmtree(broken)


@pytest.mark.scenario("A4")
def test_load_student_refuses_another_adapter(make_student, tmp_path):
    student, contract = make_student()
    folder = save(student, contract, tmp_path / "m")
    state = folder / "adapter" / "adapter_config.json"
    config = json.loads(state.read_text())
    config["target_modules"] = [m for m in config["target_modules"] if "o_proj" not in m]
    state.write_text(json.dumps(config))
    write_manifest(folder)
    with pytest.raises(ArtefactError, match="does not fit the base model"):
        load_student(folder)


@pytest.mark.scenario("A6")
def test_load_student_refuses_a_newer_format(make_student, tmp_path):
    student, contract = make_student()
    folder = save(student, contract, tmp_path / "m")
    values = json.loads((folder / "matcher.json").read_text())
    (folder / "matcher.json").write_text(json.dumps(values | {"format": FORMAT + 1}))
    write_manifest(folder)
    with pytest.raises(ArtefactError, match="needs a newer flipkd"):
        load_student(folder)


def test_load_language_model_refuses_other_folders(tmp_path):
    with pytest.raises(ArtefactError, match=r"no config\.json"):
        load_language_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtefactError, match="not a causal LM"):
        load_language_model(str(tmp_path))


def test_load_language_model_and_new_student_suggest_the_nearest_dtype_and_module(base_models, make_student):
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        load_language_model(str(base_models["llama"]), dtype="bfloat")
    with pytest.raises(ConfigError, match="all-linear"):
        make_student(lora_target_modules=["q_projj"])
