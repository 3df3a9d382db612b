"""Files of a model folder that would choose code: each holds a canary that would write a marker file, and must not run."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tiny import student_config
from tiny_matchers import exported
from transformers import PreTrainedModel

from flipkd.artefacts import check_model_folder, check_values, checked_model, library_errors
from flipkd.command_config import VerifyConfig
from flipkd.commands.verify import verify
from flipkd.errors import ArtefactError, FlipkdError, RefusedError, ResourceError
from flipkd.exports.record import read_record
from flipkd.files import write_manifest
from flipkd.matcher import Matcher
from flipkd.student.language_model import load_language_model, load_tokenizer
from flipkd.student.loading import load_student, new_student
from flipkd.teachers.teacher import load_teacher


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Path of the marker file; a module `canary`, a package `megatron` and `torch.canary` write it when they are used."""
    marker, place = tmp_path / "code-ran", tmp_path / "path"
    write = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    (place / "megatron").mkdir(parents=True)
    for file in ("canary.py", "megatron/__init__.py", "megatron/core.py"):
        (place / file).write_text(f"{write}class Canary:\n    pass\n")
    monkeypatch.syspath_prepend(place)
    monkeypatch.chdir(place)
    monkeypatch.setattr(torch, "canary", marker.touch, raising=False)
    for name in ("connect", "connect_ex"):  # downloads of code or weights count as well
        monkeypatch.setattr(socket.socket, name, lambda *_: marker.touch())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: marker.touch() or [])
    yield marker
    for name in ("canary", "megatron", "megatron.core"):
        sys.modules.pop(name, None)
    assert not marker.exists(), "code that a model's file named was run"


class Pickled:
    """An object that runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def change(file: Path, changes: dict) -> None:
    """Set keys of a JSON file by dotted path; create the file if it does not exist."""
    values = json.loads(file.read_text()) if file.exists() else {}
    for path, value in changes.items():
        *parts, last = path.split(".")
        inside = values
        for part in parts:
            inside = inside[int(part)] if isinstance(inside, list) else inside.setdefault(part, {})
        inside[last] = value
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values))


def write_custom_code(folder: Path, marker: Path) -> None:
    """Write the files from which libraries import custom code, as hub models have them."""
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Canary:\n    pass\n"
    for name in (
        "modeling_canary.py",
        "configuration_canary.py",
        "tokenization_canary.py",
        "custom_generate/generate.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)


OWN_CLASS = {"AutoConfig": "configuration_canary.Canary", "AutoModelForCausalLM": "modeling_canary.Canary"}
KERNEL = "somebody/kernel:canary"
IN_BASES = [
    ("config.json", {"model_type": "yellow_bird", "auto_map": OWN_CLASS}, "auto_map"),
    ("config.json", {"text_config": {"model_type": "yellow_bird", "auto_map": OWN_CLASS}}, "auto_map"),
    ("config.json", {"trust_remote_code": True}, "trust_remote_code"),
    ("config.json", {"text_config": {"trust_remote_code": True}}, "trust_remote_code"),
    ("config.json", {"attn_implementation": KERNEL}, "attn_implementation"),
    ("config.json", {"_attn_implementation": KERNEL}, "_attn_implementation"),
    ("config.json", {"text_config": {"_attn_implementation_internal": KERNEL}}, "_attn_implementation_internal"),
    ("config.json", {"attn_implementation": {"": "sdpa", "text_config": KERNEL}}, "attn_implementation"),
    ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ("config.json", {"transformers_weights": "adapter_model.bin"}, "transformers_weights"),
    ("config.json", {"transformers_weights": "../other/model.safetensors"}, "transformers_weights"),
    ("config.json", {"fusion_config": {"patch_embed": True}}, "fusion_config"),
    ("generation_config.json", {"custom_generate": "somebody/code"}, "custom_generate"),
    ("generation_config.json", {"trust_remote_code": True}, "trust_remote_code"),
    ("tokenizer_config.json", {"tokenizer_class": "canary.Canary"}, "tokenizer_class"),
    ("tokenizer_config.json", {"gguf_file": "weights.gguf"}, "gguf_file"),
    ("processor_config.json", {"audio_tokenizer": {"audio_tokenizer_class": "x"}}, "audio_tokenizer"),
    ("model.safetensors.index.json", {"weight_map": {"a": "pytorch_model.bin"}}, "weight_map"),
    ("model.safetensors.index.json", {"weight_map": {"a": "../model.safetensors"}}, "weight_map"),
]
IN_TEACHERS = [
    ("modules.json", {"1.type": "canary.Canary"}, "type"),
    ("modules.json", {"1.type": "sentence_transformers.util.misc.import_from_string"}, "type"),
    ("modules.json", {"1.type": ["sentence_transformers.models.Pooling"]}, "type"),
    ("router_config.json", {"types": {"a": "canary.Canary"}}, "types"),
    ("router_config.json", {"types": {"../a": "sentence_transformers.models.Pooling"}}, "path"),
    ("modules.json", {"1.path": "../outside"}, "path"),
    ("modules.json", {"1.path": "1_Pooling/..\\..\\outside"}, "path"),
    ("modules.json", {"1.path": "/outside"}, "path"),
    ("1_Pooling/config.json", {"activation_function": "torch.canary"}, "activation_function"),
    ("1_Pooling/config.json", {"tokenizer_class": "canary.Canary"}, "tokenizer_class"),
    ("config_sentence_transformers.json", {"activation_fn": "torch.canary"}, "activation_fn"),
    ("config.json", {"sentence_transformers": {"activation_fn": "torch.canary"}}, "activation_fn"),
    ("config.json", {"sbert_ce_default_activation_function": "torch.canary"}, "sbert_ce_default_activation_function"),
    ("sentence_bert_config.json", {"modality_config.text.method": "push_to_hub"}, "method"),
    ("sentence_bert_config.json", {"tokenizer_name_or_path": "/elsewhere"}, "tokenizer_name_or_path"),
    ("sentence_bert_config.json", {"model_args": {"allow_all_kernels": True}}, "model_args"),
    ("sentence_bert_config.json", {"model_kwargs": {"weights_only": False}}, "model_kwargs"),
    ("sentence_bert_config.json", {"config_kwargs": {"dtype": {"a": 1}}}, "config_kwargs"),
    ("sentence_bert_config.json", {"processor_kwargs": {"tokenizer_type": "x"}}, "processor_kwargs"),
]


@pytest.mark.scenario("X2", "X6")
@pytest.mark.parametrize("file, changes, key", IN_BASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_base_model_names_no_code(base_models, tmp_path, canary, file, changes, key):
    folder = shutil.copytree(base_models["llama"], tmp_path / "base")
    write_custom_code(folder, canary)
    change(folder / file, changes)
    for load in (load_language_model, load_tokenizer):
        with pytest.raises(RefusedError) as raised:
            load(str(folder))
        assert f"{folder / file}: {key} is " in str(raised.value)
        assert "allowed: " in str(raised.value)


@pytest.mark.scenario("X2", "X6")
@pytest.mark.parametrize("file, changes, key", IN_TEACHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_teacher_names_no_code(encoders, tmp_path, canary, file, changes, key):
    folder = shutil.copytree(encoders / "bi", tmp_path / "teacher")
    write_custom_code(folder, canary)
    change(folder / file, changes)
    for kind in ("bi_encoder", "cross_encoder"):
        with pytest.raises(RefusedError, match=f": {key} is .*allowed: "):
            load_teacher(folder, kind=kind)


@pytest.mark.scenario("X2")
def test_a_cross_encoder_calls_no_function_that_its_config_names(encoders, tmp_path, canary):
    folder = shutil.copytree(encoders / "cross", tmp_path / "cross")
    change(folder / "config.json", {"sentence_transformers": {"activation_fn": "torch.canary"}})
    with pytest.raises(RefusedError, match=r"config\.json: activation_fn is 'torch\.canary'"):
        load_teacher(folder, kind="cross_encoder")
    change(folder / "config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}})
    assert load_teacher(folder, kind="cross_encoder", device="cpu").score(["pin"], ["card"]).shape == (1,)


@pytest.mark.scenario("X2")
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_loading_an_artefact_runs_no_code_that_a_model_brings_besides_a_known_class(
    base_models, encoders, tmp_path, canary, file
):
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoModel", "AutoProcessor")
    own = dict.fromkeys(names, "modeling_canary.Canary") | {"AutoTokenizer": ["modeling_canary.Canary"] * 2}
    for name, source in (("base", base_models["llama"]), ("teacher", encoders / "bi")):
        folder = shutil.copytree(source, tmp_path / name)
        write_custom_code(folder, canary)
        change(folder / file, {"auto_map": own})
        for load in (load_language_model, load_tokenizer, load_teacher):
            with contextlib.suppress(FlipkdError):
                load(str(folder))
            assert not canary.exists(), load


MEGATRON = {
    "peft_type": "LORA",
    "megatron_config": {"a": 1},
    "megatron_core": "megatron.core",
    "target_modules": ["q_proj"],
}


def test_check_model_folder_refuses_an_adapter_in_the_folder_of_a_model(base_models, encoders, tmp_path, canary):
    for source in (base_models["llama"], encoders / "bi", encoders / "cross"):
        folder = shutil.copytree(source, tmp_path / source.name)
        change(folder / "adapter_config.json", MEGATRON)
        for load in (load_language_model, load_tokenizer, load_teacher):
            with pytest.raises(ArtefactError, match="an adapter, not a complete model; merge it"):
                load(str(folder))


def test_check_model_folder_refuses_an_adapter_in_the_folder_of_a_module(encoders, tmp_path, canary):
    folder = shutil.copytree(encoders / "bi", tmp_path / "teacher")
    change(folder / "1_Pooling" / "adapter_config.json", MEGATRON)
    with pytest.raises(ArtefactError, match="1_Pooling: an adapter"):
        load_teacher(folder)


@pytest.mark.scenario("X2")
def test_load_student_refuses_a_matcher_that_names_code(make_student, tmp_path, canary):
    student, contract = make_student()
    folder = tmp_path / "m"
    folder.mkdir()
    student.save(folder, contract)
    for name, file, changes, said in (
        (
            "megatron",
            "adapter/adapter_config.json",
            {k: MEGATRON[k] for k in MEGATRON if "mega" in k},
            "megatron_config is",
        ),
        ("mapping", "adapter/adapter_config.json", {"auto_mapping": {"parent_library": "canary"}}, "auto_mapping is"),
        ("tokenizer", "tokenizer/tokenizer_config.json", {"tokenizer_class": "canary.Canary"}, "tokenizer_class is"),
        ("model", "tokenizer/config.json", {"model_type": "yellow_bird", "auto_map": OWN_CLASS}, "auto_map is"),
    ):
        changed = shutil.copytree(folder, tmp_path / name)
        write_custom_code(changed / "tokenizer", canary)
        change(changed / file, changes)
        write_manifest(changed)
        with pytest.raises(RefusedError, match=said):
            load_student(changed)


@pytest.mark.scenario("X1")
def test_load_language_model_and_load_teacher_read_no_pickled_weights(base_models, encoders, tmp_path, canary):
    pickled = pickle.dumps(Pickled(canary))
    for source in (base_models["llama"], encoders / "bi", encoders / "cross"):
        folder = shutil.copytree(source, tmp_path / source.name)
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickled)
        with pytest.raises(RefusedError, match=r"pytorch_model\.bin: pickled weights are not read"):
            load_teacher(folder) if source.parent == encoders else load_language_model(str(folder))


@pytest.mark.scenario("X1")
@pytest.mark.parametrize("beside", [None, "other.safetensors", "model.safetensors.index.json"])
def test_a_pickled_layer_is_not_read_whatever_lies_beside_it(encoders, tmp_path, canary, beside):
    folder = shutil.copytree(encoders / "bi", tmp_path / "teacher")
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]))
    change(folder / "2_Dense" / "config.json", {"in_features": 16, "out_features": 4})
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Pickled(canary)))
    if beside:
        (folder / "2_Dense" / beside).write_text("{}")
    with pytest.raises(RefusedError, match=r"2_Dense/pytorch_model\.bin: pickled"):
        load_teacher(folder)


ENDLESS = (
    "{% for a in range(100000) %}{% for b in range(100000) %}{{ messages.__class__.__mro__ }}{% endfor %}{% endfor %}"
)


@pytest.mark.scenario("X3")
def test_no_chat_template_of_a_base_model_or_bi_encoder_is_rendered(
    base_models, encoders, make_student, tmp_path, canary, monkeypatch
):
    """transformers renders one in a sandbox, which bounds neither its time nor its output; for cross-encoders see SECURITY.md."""
    import jinja2

    for method in ("render", "generate", "stream"):
        monkeypatch.setattr(jinja2.Template, method, lambda *_, **__: canary.touch() or "")
    folders = {"base": base_models["llama"], "bi": encoders / "bi"}
    scores = []
    for name in ("plain", "told"):
        copies = {kind: shutil.copytree(folder, tmp_path / name / kind) for kind, folder in folders.items()}
        for copy in copies.values() if name == "told" else ():
            change(copy / "tokenizer_config.json", {"chat_template": ENDLESS})
            (copy / "chat_template.jinja").write_text(ENDLESS)
        monkeypatch.setitem(base_models, "llama", copies["base"])
        student, contract = make_student()
        assert (student.prompt.tokenizer.chat_template == ENDLESS) is (name == "told")
        found = [*Matcher(student, contract).predict([("my card", "the pin")])]
        found += [*load_teacher(copies["bi"], device="cpu").embed(["my card"])[0]]
        scores.append(found)
    assert scores[0] == scores[1]


def test_check_model_folder_refuses_a_matcher_as_base_model(base_models, tmp_path):
    folder = shutil.copytree(base_models["llama"], tmp_path / "base")
    change(folder / "matcher" / "matcher.json", {"format": 1})  # a run that was put into the model's folder
    load_language_model(str(folder), dtype="float32")
    change(folder / "matcher.json", {"format": 1})
    with pytest.raises(ArtefactError, match="a matcher of flipkd, not a base model"):
        load_language_model(str(folder))


def test_check_model_folder_refuses_a_run_its_matcher_and_its_adapter_as_base_models(trained):
    for inside, said in (
        ("", "a matcher of flipkd"),
        ("matcher", "a matcher of flipkd"),
        ("matcher/adapter", "an adapter, "),
    ):
        with pytest.raises(ArtefactError, match=said):
            load_language_model(str(Path(trained) / inside))


def test_check_model_folder_passes_models_as_they_are_saved(base_models, encoders, tmp_path):
    for folder in (*base_models.values(), encoders / "bi", encoders / "cross"):
        check_model_folder(folder)
    folder = shutil.copytree(encoders / "bi", tmp_path / "shards")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "pytorch_model.bin").touch()  # beside safetensors it is never looked at
    change(folder / "model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00001.safetensors"}})
    change(folder / "config.json", {"activation_function": "gelu_new", "attn_implementation": None})
    change(folder / "tokenizer_config.json", {"tokenizer_class": None})
    change(folder / "2_Dense" / "config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    check_model_folder(folder)


def test_check_model_folder_names_a_file_that_is_not_json(base_models, tmp_path):
    folder = shutil.copytree(base_models["llama"], tmp_path / "base")
    (folder / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ArtefactError, match=r"config\.json: not readable as JSON"):
        check_model_folder(folder)
    (folder / "config.json").write_text("[" * 900 + "]" * 900)
    check_values(folder / "config.json", json.loads((folder / "config.json").read_text()))


def test_checked_model_returns_the_revision_of_a_hub_model_that_is_then_loaded(encoders, tmp_path, monkeypatch):
    asked = []

    def download(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path / "0123abcd")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    folder = shutil.copytree(encoders / "bi", tmp_path / "0123abcd")
    assert checked_model("somebody/model") == ("0123abcd", [""])
    assert asked == [("somebody/model", ["*.json"])]
    change(folder / "modules.json", {"0.type": "canary.Canary"})
    with pytest.raises(RefusedError, match=r"type is 'canary\.Canary'"):
        load_teacher("somebody/model")


def test_checked_model_names_a_hub_model_that_cannot_be_downloaded():
    with pytest.raises(
        ArtefactError,
        match=r"no such folder, no packaged model .* no model that can be downloaded, because HF_HUB_OFFLINE is",
    ):
        checked_model("no-body/no-model")


@pytest.mark.parametrize(
    "error, expected, said",
    [
        (KeyError("head_dim"), ArtefactError, "m: unreadable ('head_dim')"),
        (ZeroDivisionError(), ArtefactError, "m: unreadable (ZeroDivisionError)"),
        (MemoryError(), ResourceError, "does not fit into memory"),
        (OSError(28, "No space left on device"), ResourceError, "the disk is full"),
        (ValueError("Please pass the argument `trust_remote_code=True`"), RefusedError, "needs its own code"),
        (ResourceError("as it is"), ResourceError, "as it is"),
    ],
)
def test_library_errors_names_the_model_in_any_exception(error, expected, said):
    with pytest.raises(expected) as raised, library_errors("m", "unreadable"):
        raise error
    assert said in str(raised.value).replace('"', "")
    with pytest.raises(KeyboardInterrupt), library_errors("m", "unreadable"):
        raise KeyboardInterrupt


PANICS = [
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},  # when the file is read
    {"type": "Replace", "pattern": {"String": ""}, "content": "x"},  # on the first text
]


@pytest.mark.scenario("A5")
@pytest.mark.parametrize("normalizer", PANICS, ids=lambda value: value["type"])
def test_a_tokenizer_on_which_the_library_panics_is_an_error_with_its_name(
    tiny_matcher, base_models, encoders, tmp_path, normalizer
):
    sources = {"matcher": tiny_matcher(), "base": base_models["llama"], "teacher": encoders / "bi"}
    for name, source in sources.items():
        folder = shutil.copytree(source, tmp_path / name)
        change(folder / "tokenizer" / "tokenizer.json" if name == "matcher" else folder / "tokenizer.json",
               {"normalizer": normalizer})  # fmt: skip
    write_manifest(tmp_path / "matcher")
    for name, load in (
        ("matcher", load_student),
        ("base", lambda folder: new_student(student_config(folder))),
        ("teacher", load_teacher),
    ):
        with pytest.raises(ArtefactError, match=str(tmp_path / name)):
            load(tmp_path / name)


@pytest.mark.scenario("A5")
def test_a_teacher_without_a_vector_for_a_token_is_an_error_with_its_name(encoders, tmp_path):
    for kind, call in (("bi", lambda t: t.embed(["a <new>"])), ("cross", lambda t: t.score(["a <new>"], ["b"]))):
        folder = shutil.copytree(encoders / kind, tmp_path / kind)
        tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
        new = tokens[-1] | {"id": 100_000, "content": "<new>"}
        change(folder / "tokenizer.json", {"added_tokens": [*tokens, new], "model.vocab.<new>": 100_000})
        teacher = load_teacher(folder, kind=f"{kind}_encoder")
        with pytest.raises(ArtefactError, match=f"{folder}: the model does not run on these texts"):
            call(teacher)


IN_EXPORTS = [
    ("adapter", "adapter_config.json", MEGATRON, "megatron_config"),
    ("merged", "adapter_config.json", MEGATRON, "an adapter, not a complete model"),
    ("merged", "config.json", {"attn_implementation": KERNEL}, "attn_implementation"),
    ("sequence-classification", "tokenizer_config.json", {"tokenizer_class": "canary.Canary"}, "tokenizer_class"),
    ("sentence-transformers", "config_sentence_transformers.json", {"activation_fn": "torch.canary"}, "activation_fn"),
    ("sentence-transformers", "2_Dense/config.json", {"activation_function": "torch.canary"}, "activation_function"),
    ("sentence-transformers", "modules.json", {"1.type": "canary.Canary"}, "type"),
]


@pytest.mark.scenario("X2")
@pytest.mark.parametrize(
    "form, file, changes, named", IN_EXPORTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_verify_runs_no_code_that_an_export_names(tiny_matcher, tmp_path, canary, form, file, changes, named):
    folder = tmp_path / "out"
    exported(tiny_matcher(), folder, form, **({"base_model": "someone/tiny"} if form == "adapter" else {}))
    assert read_record(folder).format == form
    change(folder / file, changes)
    write_manifest(folder)
    with pytest.raises((RefusedError, ArtefactError), match=named):
        verify(VerifyConfig.check({"export": str(folder), "against": str(tiny_matcher())}))


@pytest.mark.scenario("X1")
def test_verify_unpickles_no_weights_of_an_export(tiny_matcher, tmp_path, canary):
    folder = tmp_path / "out"
    exported(tiny_matcher(), folder, "sentence-transformers")
    (folder / "2_Dense" / "model.safetensors").unlink()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Pickled(canary)))
    write_manifest(folder)
    with pytest.raises(RefusedError, match=r"pytorch_model\.bin: pickled weights are not read"):
        verify(VerifyConfig.check({"export": str(folder), "against": str(tiny_matcher())}))


def test_threads_load_models_one_at_a_time(tiny_matcher, encoders, base_models, monkeypatch):
    """Two loads of transformers that overlap can leave its replacements in place (tie_weights, torch's default dtype)."""
    matcher, loads, together = tiny_matcher(), [], []

    def load(*args, original=PreTrainedModel.from_pretrained.__func__, **kwargs):
        loads.append(args)
        time.sleep(0.05)
        together.append(len(loads))
        try:
            return original(*args, **kwargs)
        finally:
            loads.pop()

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(load))
    before = PreTrainedModel.tie_weights, torch.get_default_dtype()
    calls = [
        lambda: load_student(matcher),
        lambda: load_language_model(str(base_models["gemma3"]), dtype="bfloat16"),
        lambda: load_teacher(encoders / "bi"),
        lambda: load_teacher(encoders / "cross", dtype="bfloat16"),
        lambda: new_student(student_config(base_models["gemma3"])),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        for call in [pool.submit(call) for call in calls]:
            call.result()
    assert len(together) >= len(calls)
    assert set(together) == {1}
    assert (PreTrainedModel.tie_weights, torch.get_default_dtype()) == before
