"""A matcher that goes to the hub: no path of this machine, no pairs, and it loads again from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import flipkd
from hub_server import card_errors, hub_with, use_hub
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM

from flipkd.errors import ArtefactError, ConfigError, UsageError
from flipkd.files import MANIFEST, read_json, write_json, write_manifest
from flipkd.matcher import Matcher
from flipkd.publishing import push_matcher
from flipkd.student.contract import read_contract
from flipkd.student.scoring import score_pairs

NAME, BASE = "flip/bank-matcher", "org/llm"
PAIRS = [("my card was stolen yesterday", "where is my transfer"), ("a fee", "please close my account")]


@pytest.fixture
def hub(monkeypatch, tmp_path, base_models):
    """A server with the base model, used by huggingface_hub with a token."""
    with hub_with(monkeypatch, tmp_path / "cache", **{BASE: base_models["llama"]}) as server:
        yield server


@pytest.fixture
def folder(with_teacher, tmp_path) -> Path:
    """A copy of a matcher that was trained on a local base, with training pairs beside it."""
    copied = tmp_path / "matcher"
    shutil.copytree(Path(with_teacher) / "matcher", copied)
    (copied / "train.csv").write_text("text1,text2,label\nsecret,secret,1\n")
    return copied


def test_a_pushed_matcher_loads_with_its_base_from_the_hub(hub, folder, base_models):
    local = Matcher.from_pretrained(folder)
    facts = {"language": ["en"], "license": "apache-2.0", "datasets": ["org/pairs"]}
    address = local.push_to_hub(NAME, base_model=BASE, commit_message="first", private=True, **facts)
    repository = hub.repositories[NAME]
    assert address.startswith(f"{hub.url}/{NAME}/commit/")
    assert (repository.private, repository.messages) == (True, ["first"])
    here = bytes(base_models["llama"].parents[1])  # in which the models, the pairs and the run are
    assert [name for name, data in repository.files().items() if b"secret" in data or here in data] == []
    loaded = Matcher.from_pretrained(NAME)
    assert loaded.contract.base_model_name_or_path == BASE
    assert loaded.predict(PAIRS).tolist() == local.predict(PAIRS).tolist()
    card = ModelCard(repository.files()["README.md"].decode())
    assert {name: card.data.get(name) for name in facts} == facts
    assert (card.data.base_model, card.data.base_model_relation) == (BASE, "adapter")
    assert f"# Text matcher on {BASE}\n" in card.text
    assert "adapters of the language model\n[org/llm](https://huggingface.co/org/llm).\n" in card.text
    assert f'Matcher.from_pretrained("{NAME}")' in card.text
    assert set(hub.validated) == {card.content}


def test_push_matcher_leaves_the_local_folder_as_it_is(hub, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    push_matcher(folder, NAME, base_model=BASE)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_push_matcher_warns_of_a_base_that_is_also_a_folder_here(hub, folder, monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)
    push_matcher(folder, NAME, base_model=BASE)
    assert "is also a folder here" not in caplog.text
    (tmp_path / BASE).mkdir(parents=True)
    push_matcher(folder, NAME, base_model=BASE)
    assert f"base_model {BASE} is also a folder here" in caplog.text


def test_a_matcher_whose_names_stay_keeps_its_fingerprint(hub, folder):
    push_matcher(folder, NAME, base_model=BASE)
    first = Matcher.from_pretrained(NAME)
    assert first.push_to_hub("flip/second") != first.push_to_hub(NAME, revision="v2")
    assert Matcher.from_pretrained("flip/second").fingerprint == first.fingerprint
    assert Matcher.from_pretrained(NAME, revision="v2").fingerprint == first.fingerprint


def test_an_old_matcher_with_paths_in_it_is_pushed_without_them(hub, folder, base_models):
    """Earlier versions wrote the base model's folder into the adapter's config and into the card."""
    path = str(base_models["llama"])
    settings = folder / "adapter" / "adapter_config.json"
    write_json(settings, read_json(settings) | {"base_model_name_or_path": path})
    (folder / "README.md").write_text(f"---\nbase_model: {path}\n---\n# Matcher\n\ntaught `{path}`\n")
    (folder / "train.csv").unlink()
    write_manifest(folder)
    assert Matcher.from_pretrained(folder).predict(PAIRS).shape == (2,)
    push_matcher(folder, NAME, base_model=BASE)
    files = hub.repositories[NAME].files()
    assert [name for name, data in files.items() if path.encode() in data] == []
    assert json.loads(files["adapter/adapter_config.json"])["base_model_name_or_path"] == BASE
    assert "taught `org/llm`" in files["README.md"].decode()


def test_push_matcher_of_a_packaged_base_names_the_package_and_the_original(hub, folder, caplog):
    contract = read_contract(folder)
    contract.model_copy(update={"base_model_name_or_path": "gemma-3-270m"}).save(folder)
    (folder / "train.csv").unlink()
    write_manifest(folder)
    push_matcher(folder, NAME)
    files = hub.repositories[NAME].files()
    assert json.loads(files["matcher.json"])["base_model_name_or_path"] == "gemma-3-270m"
    assert json.loads(files["adapter/adapter_config.json"])["base_model_name_or_path"] == "google/gemma-3-270m"
    assert ModelCard(files["README.md"].decode()).data.base_model == "google/gemma-3-270m"
    assert "names no license" in caplog.text


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft uses it
def test_peft_loads_the_adapter_of_a_pushed_matcher_on_another_machine(
    hub, folder, tmp_path, base_models, monkeypatch
):
    push_matcher(folder, NAME, base_model=BASE)
    loaded = Matcher.from_pretrained(NAME)
    copied = shutil.copytree(loaded.folder / "adapter", tmp_path / "elsewhere")
    use_hub(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    ids = torch.tensor([loaded.student.prompt.pair_rows([PAIRS[0][0]], [PAIRS[0][1]])[0].ids])
    no, yes = loaded.contract.label_ids
    expected = score_pairs(loaded.student, [PAIRS[0][0]], [PAIRS[0][1]]).answer[0]
    for model in (
        AutoPeftModelForCausalLM.from_pretrained(str(copied)),
        AutoModelForCausalLM.from_pretrained(str(copied)),
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_models["llama"]), str(folder / "adapter")),
    ):
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -1]
        assert float(logits[yes] - logits[no]) == pytest.approx(float(expected), abs=1e-4)


def test_push_matcher_refuses(hub, folder, make_student):
    with pytest.raises(ConfigError, match=r"its base model is the folder .*llama, which .*: --base_model OWNER/NAME"):
        push_matcher(folder, NAME)
    for wrong in ("llama", "/models/llama", "a/b/c"):
        with pytest.raises(UsageError, match=f"base_model is {wrong}; it must be the id of a model of the hub"):
            push_matcher(folder, NAME, base_model=wrong)
    with pytest.raises(ArtefactError, match=r"holds no matcher\.json; give a folder that"):
        push_matcher(folder / "teacher", NAME)
    manifest = read_json(folder / MANIFEST)
    (folder / MANIFEST).write_text(json.dumps({"files": manifest["files"] | _entry(folder, "train.csv")}))
    with pytest.raises(ArtefactError, match=r"lists train\.csv, which is no file of a matcher; push a folder as"):
        push_matcher(folder, NAME, base_model=BASE)
    (folder / "readout.safetensors").write_bytes(b"")
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        push_matcher(folder, NAME, base_model=BASE)
    with pytest.raises(UsageError, match="was not loaded from a folder"):
        Matcher(*make_student()).push_to_hub(NAME)
    assert set(hub.repositories) == {BASE}


def _entry(folder: Path, name: str) -> dict:
    (folder / "other").mkdir()
    shutil.copy(folder / name, folder / "other")
    write_manifest(folder / "other")
    return read_json(folder / "other" / MANIFEST)["files"]


def test_evaluate_writes_the_card(folder, pair_files):
    done = flipkd("evaluate", "--matcher", folder, "--test_file", pair_files["test"], "--card", "--json")
    assert done.code == 0, done.err
    card = (folder / "README.md").read_text()
    metrics = json.loads(done.out)
    found = {result.metric_type: result.metric_value for result in ModelCard(card).data.eval_results}
    assert found["f1"] == pytest.approx(metrics["f1"], abs=1e-6)
    assert f"| f1 | {metrics['f1']:.4f} |" in card
    assert "test, 24 pairs:" in card
    assert card_errors(card) == []
    assert Matcher.from_pretrained(folder).folder == folder  # the manifest leaves the card out
