"""Changed files of a matcher with a new manifest: the hashes are valid, but the matcher is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import build_model, randomise, student_config

from flipkd.errors import ArtefactError, ResourceError
from flipkd.files import new_folder, write_manifest
from flipkd.matcher import Matcher
from flipkd.student.golden import golden_pair
from flipkd.student.language_model import load_language_model
from flipkd.student.loading import load_student, new_student

ADAPTER = "adapter/adapter_model.safetensors"
READOUT = "readout.safetensors"
PAIRS = [("my card was stolen", "the machine kept my card"), ("where is my transfer", "a fee")]


@pytest.fixture(scope="module")
def saved(base_models, tmp_path_factory) -> Path:
    config = student_config(base_models["llama"], max_text_length=32, readout_layers=[-2, -1])
    student, contract = new_student(config)
    randomise(student)
    target = tmp_path_factory.mktemp("changed") / "m"
    with new_folder(target) as folder:
        student.save(folder, contract.model_copy(update={"golden": golden_pair(student)}))
    return target


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "m")


def seal(folder: Path) -> Path:
    write_manifest(folder)
    return folder


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def malformed(content: bytes) -> dict[str, bytes]:
    """Return name of fault -> malformed content, made from a valid safetensors file."""
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    first, second, *_ = (name for name in header if name != "__metadata__")

    def rebuilt(text: bytes, more: bytes = b"") -> bytes:
        return len(text).to_bytes(8, "little") + text + data + more

    def with_second(**values) -> bytes:
        return rebuilt(json.dumps(header | {second: header[second] | values}).encode())

    twice = json.dumps(header).encode()[:-1] + f', "{first}": {json.dumps(header[second])}'.encode() + b"}"
    return {
        "empty": b"",
        "short": content[:-5],
        "long": content + bytes(8),
        "header of 2^63 bytes": (2**63).to_bytes(8, "little") + content[8:],
        "header of 200 MB": (200 * 2**20).to_bytes(8, "little") + content[8:],
        "no header": (1).to_bytes(8, "little") + b"{" + data,
        "overlap": with_second(data_offsets=header[first]["data_offsets"]),
        "overflow": with_second(shape=[2**40, 2**40], data_offsets=[0, 2**63]),
        "key twice": rebuilt(twice),
        "pickle appended": rebuilt(json.dumps(header).encode(), pickle.dumps([1, 2])),
        "pickle instead": pickle.dumps({first: [1.0]}),
    }


@pytest.mark.scenario("A1")
@pytest.mark.parametrize(
    "name, merge, message",
    [
        (ADAPTER, False, "m/adapter: not a readable LoRA adapter"),
        (READOUT, True, "m: does not fit its base model"),
    ],
)
def test_load_student_names_a_malformed_tensor_file(copy, name, merge, message):
    original = (copy / name).read_bytes()
    for fault, content in malformed(original).items():
        (copy / name).write_bytes(content)
        with pytest.raises(ArtefactError, match=f"{copy.parent}/{message}"):
            load_student(seal(copy), merge=merge)
            pytest.fail(f"{fault} was read")
    (copy / name).write_bytes(original)
    load_student(seal(copy), merge=merge)


@pytest.mark.scenario("A1")
def test_load_language_model_names_malformed_weights(base_models, tmp_path):
    base = shutil.copytree(base_models["llama"], tmp_path / "base")
    for fault, content in malformed((base / "model.safetensors").read_bytes()).items():
        (base / "model.safetensors").write_bytes(content)
        with pytest.raises(ArtefactError, match=str(base)):
            load_language_model(str(base))
            pytest.fail(f"{fault} was read")


@pytest.mark.scenario("A2")
@pytest.mark.parametrize("name, merge", [(ADAPTER, False), (READOUT, True)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_load_student_names_a_tensor_that_is_not_finite(copy, name, merge, value):
    tensors = load_file(copy / name)
    changed = sorted(tensors)[-1]
    tensors[changed].view(-1)[-1] = value
    save_file(tensors, copy / name)
    with pytest.raises(ArtefactError, match=f"{changed[:40]}.* holds values that are not finite"):
        load_student(seal(copy), merge=merge)


@pytest.mark.scenario("A4")
def test_load_student_refuses_missing_and_extra_tensors(copy):
    original = load_file(copy / ADAPTER)
    name, tensor = next(iter(original.items()))
    for tensors, message in (
        ({key: value for key, value in original.items() if key != name}, "1 tensors missing, 0 unexpected"),
        (original | {name.replace("layers.0", "layers.7"): tensor.clone()}, "0 tensors missing, 1 unexpected"),
    ):
        save_file(tensors, copy / ADAPTER)
        with pytest.raises(ArtefactError, match=message):
            load_student(seal(copy))


@pytest.mark.scenario("A4")
def test_load_student_refuses_a_wider_base_model(saved, copy, base_models, tmp_path, monkeypatch):
    from flipkd.student import loading

    wide = shutil.copytree(base_models["llama"], tmp_path / "wide")
    model = build_model("llama", vocabulary=420)
    config = type(model.config)(**(model.config.to_dict() | {"hidden_size": 64, "intermediate_size": 96}))
    type(model)(config).save_pretrained(wide)
    with pytest.raises(ArtefactError, match=r"hash .* but .* has"):
        load_student(saved, base_model=str(wide))
    own = json.loads((copy / "matcher.json").read_text())["base_model_hash"]
    monkeypatch.setattr(loading, "weights_hash", lambda *_, **__: own)
    change(copy / "matcher.json", base_config=None)
    with pytest.raises(ArtefactError, match="its shapes do not fit the base model"):
        load_student(seal(copy), base_model=str(wide))


def swap_tokens(folder: Path, one: str, other: str) -> None:
    """Exchange the ids of two tokens in a saved tokenizer."""
    file = folder / "tokenizer" / "tokenizer.json"
    values = json.loads(file.read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    for token in values["added_tokens"]:
        token["id"] = vocabulary.get(token["content"], token["id"])
    file.write_text(json.dumps(values))


@pytest.mark.scenario("A5")
@pytest.mark.parametrize(
    "fault, message",
    [
        ("vocabulary", "has other token ids"),
        ("special", "has other token ids"),
        ("larger", "has other token ids"),
        ("template", "has other token ids"),
        ("labels", "the label words have ids"),
        ("label tokens", "the label words have ids"),
    ],
)
def test_matcher_refuses_another_tokenizer_template_or_label(copy, fault, message):
    contract = json.loads((copy / "matcher.json").read_text())
    if fault == "vocabulary":
        swap_tokens(copy, "e", "o")
    if fault == "special":
        swap_tokens(copy, "<bos>", "<eos>")
    if fault == "larger":
        file = copy / "tokenizer" / "tokenizer.json"
        values = json.loads(file.read_text())
        values["model"]["vocab"]["ar"] = 420 + len(values["added_tokens"])
        values["model"]["merges"].insert(0, ["a", "r"])
        file.write_text(json.dumps(values))
    if fault == "template":
        change(copy / "matcher.json", template=contract["template"] | {"left": "\nOne: "})
    if fault == "labels":
        change(copy / "matcher.json", label_ids=contract["label_ids"][::-1])
    if fault == "label tokens":
        swap_tokens(copy, "\u0120yes", "\u0120no")
    with pytest.raises(ArtefactError, match=message):
        Matcher.from_pretrained(seal(copy))


LATER = {  # format -> the fields that it added
    2: {"symmetric", "review_threshold"},
    3: {"load_in_4bit"},
    4: {"base_config", "golden", "directed", "teacher", "cascade"},
}


@pytest.mark.scenario("A6")
@pytest.mark.parametrize("older", [1, 2, 3])
def test_matcher_of_an_older_format_gives_the_same_scores(saved, copy, older):
    expected = Matcher.from_pretrained(saved).predict(PAIRS)
    values = json.loads((copy / "matcher.json").read_text())
    unknown = set().union(*(fields for number, fields in LATER.items() if number > older))
    older_values = {name: value for name, value in values.items() if name not in unknown}
    (copy / "matcher.json").write_text(json.dumps(older_values | {"format": older}))
    assert torch.equal(*map(torch.from_numpy, (Matcher.from_pretrained(seal(copy)).predict(PAIRS), expected)))


@pytest.mark.scenario("A8")
def test_loaded_matcher_does_not_read_replaced_files(copy, base_models, tmp_path):
    base = shutil.copytree(base_models["llama"], tmp_path / "base")
    matcher = Matcher.from_pretrained(copy, base_model=str(base))
    before = matcher.predict(PAIRS)
    with pytest.raises(ResourceError, match="already"), new_folder(copy):
        pytest.fail("an existing folder was opened for writing")
    for file in [*copy.rglob("*.*"), *base.rglob("*.*")]:
        if file.is_file():  # like a copy tool: written under another name, then renamed
            other = file.with_name("other")
            other.write_bytes(b"\xff" * file.stat().st_size)
            other.replace(file)
    assert torch.equal(*map(torch.from_numpy, (matcher.predict(PAIRS), before)))
    assert matcher.predict([("another text", "that was never read")]).size == 1
