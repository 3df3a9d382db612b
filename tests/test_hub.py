"""The hub: what counts as its id, download from its cache or from a server, upload of a matcher's files alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import TOKEN, Hub, hub_server, use_hub

import flipkd
from flipkd.errors import ArtefactError, RefusedError, ResourceError, UsageError
from flipkd.files import MANIFEST, read_json
from flipkd.hub import MATCHER_FILES, download_matcher, is_repository, repository_of, upload_matcher
from flipkd.matcher import Matcher
from flipkd.student.contract import find_matcher

NAME = "flip/bank-matcher"
PAIRS = [("my card was stolen yesterday", "where is my transfer"), ("a fee", "please close my account")]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running server that huggingface_hub uses, with an empty cache and no token."""
    with hub_server() as server:
        use_hub(monkeypatch, server.url, tmp_path / "cache")
        yield server


@pytest.fixture
def folder(with_teacher, tmp_path) -> Path:
    """A copy of a matcher with a teacher, and files beside it that are no part of it."""
    copied = tmp_path / "matcher"
    shutil.copytree(Path(with_teacher) / "matcher", copied)
    for name in ("train.csv", "scores.jsonl", "pytorch_model.bin", "adapter/optimizer.pt", "tokenizer/code.py"):
        (copied / name).write_text("secret")
    return copied


@pytest.mark.parametrize(
    "name, expected",
    [("org/name", True), ("o-1/n.a_me", True), ("name", False), ("./a/b", False), ("/a/b", False), ("a/b/c", False)]
    + [("../a", False), ("a/", False), ("a\\b/c", False), ("a b/c", False), ("", False), ("C:/a", False)],
)
def test_is_repository(name, expected):
    assert is_repository(name) is expected


def test_repository_of_a_snapshot():
    assert repository_of(Path("/c/models--org--name/snapshots/abc")) == "org/name"
    for other in ("/c/models--org--name", "/c/run/matcher", "datasets--a--b/snapshots/abc", "", "x"):
        assert repository_of(Path(other)) is None


def test_the_patterns_hold_all_files_of_a_matcher_and_no_others(folder):
    listed = set(read_json(folder / MANIFEST)["files"])
    assert any(name.startswith("teacher/1_Pooling/") for name in listed)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    allowed = {name for name in present if any(fnmatch(name, pattern) for pattern in MATCHER_FILES)}
    assert allowed == listed | {MANIFEST}
    assert not any(
        fnmatch(f"{part}x{end}", p)
        for part in ("", "adapter/", "tokenizer/", "teacher/")
        for end in (".py", ".bin", ".pt", ".pkl", ".csv", ".jsonl", ".parquet")
        for p in MATCHER_FILES
    )


def test_a_matcher_of_the_hub_scores_as_the_local_one(hub, folder, monkeypatch, tmp_path):
    first = hub.add(NAME, folder)
    local, loaded = Matcher.from_pretrained(folder), Matcher.from_pretrained(NAME)
    assert loaded.predict(PAIRS).tolist() == local.predict(PAIRS).tolist()
    assert loaded.fingerprint == local.fingerprint
    downloaded = find_matcher(NAME)
    assert (downloaded.name, repository_of(downloaded)) == (first, NAME)
    assert {path.name for path in downloaded.rglob("*.*")} & {"train.csv", "pytorch_model.bin", "code.py"} == set()
    assert not [request for request in hub.requests if "secret" in request or ".py" in request or ".bin" in request]
    use_hub(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    hub.requests.clear()
    assert Matcher.from_pretrained(NAME).predict(PAIRS).tolist() == local.predict(PAIRS).tolist()
    assert hub.requests == []


def test_a_cache_laid_out_by_hand_is_read_offline(folder, monkeypatch, tmp_path):
    storage = tmp_path / "cache" / "models--flip--bank-matcher"
    shutil.copytree(folder, storage / "snapshots" / ("1" * 40))
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text("1" * 40)
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache", offline=True)
    assert Matcher.from_pretrained(NAME).contract == Matcher.from_pretrained(folder).contract


def test_revisions_of_a_matcher(hub, folder):
    old = hub.add(NAME, folder)
    (folder / "README.md").write_text("new")
    new = hub.add(NAME, folder, branch="v2")
    assert [find_matcher(NAME, revision=revision).name for revision in (None, old, "v2")] == [old, old, new]
    assert find_matcher(f"{NAME}@v2").name == new
    with pytest.raises(UsageError, match="names a revision, but revision is main"):
        find_matcher(f"{NAME}@v2", revision="main")
    with pytest.raises(ArtefactError, match="has no revision 'v3'; give a branch, a tag or a commit"):
        Matcher.from_pretrained(NAME, revision="v3")


def test_find_matcher_prefers_a_local_folder(hub, folder, monkeypatch, tmp_path):
    hub.add(NAME, folder)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / NAME)
    assert find_matcher(NAME) == Path(NAME)
    with pytest.raises(UsageError, match="is a local path, which has no revision"):
        find_matcher(NAME, revision="main")
    assert hub.requests == []


def test_a_private_matcher_needs_a_token(hub, folder, monkeypatch):
    hub.add(NAME, folder, private=True)
    with pytest.raises(
        ArtefactError, match=r"neither a folder .* nor a repository of the hub that you may use; .*HF_TOKEN"
    ):
        Matcher.from_pretrained(NAME)
    assert download_matcher(NAME, token=TOKEN).is_dir()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert find_matcher(NAME).is_dir()


def test_what_is_neither_a_folder_nor_a_matcher_of_the_hub(hub, base_models, monkeypatch, tmp_path):
    hub.add("org/llm", base_models["llama"])
    for name, message in (
        ("run/mathcer", "run/mathcer: neither a folder on this machine nor a repository of the hub"),
        ("a--b/c..d", "nor a valid id of the hub .*; correct the name"),
        ("org/llm", "this repository of the hub holds no matcher.json; give one that flipkd push has made"),
        ("nowhere", "nowhere: no such folder"),
        (Path("org/llm"), "org/llm: no such folder"),
    ):
        with pytest.raises(ArtefactError, match=message) as caught:
            Matcher.from_pretrained(name)
        assert "\n" not in str(caught.value)
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    with pytest.raises(ResourceError, match=r"the hub does not answer .*; correct the name, or run"):
        find_matcher("run/mathcer")
    use_hub(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    with pytest.raises(ArtefactError, match=r"run/mathcer: no such folder.*correct the path, or unset HF_HUB_OFFLINE"):
        find_matcher("run/mathcer")


def test_a_damaged_or_foreign_matcher_of_the_hub_is_refused(hub, folder):
    intact = (folder / "readout.safetensors").read_bytes()
    (folder / "readout.safetensors").write_bytes(b"changed")
    hub.add(NAME, folder)
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        Matcher.from_pretrained(NAME)
    (folder / "readout.safetensors").write_bytes(intact)
    manifest = read_json(folder / MANIFEST)
    manifest["files"]["adapter/optimizer.pt"] = {"sha256": "0", "bytes": 6}  # which is not downloaded
    (folder / MANIFEST).write_text(json.dumps(manifest))
    hub.add(NAME, folder)
    with pytest.raises(ArtefactError, match=r"optimizer\.pt: listed in the manifest but missing"):
        Matcher.from_pretrained(NAME)


def test_the_environment_variables_of_huggingface_hub_count(hub, folder, tmp_path):
    """As a process of a user has them; find_matcher needs no torch, so this takes a second."""
    sha = hub.add(NAME, folder, private=True)
    code = f"from flipkd.student.contract import find_matcher; print(find_matcher({NAME!r}))"
    names = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "own"), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
    path = [str(Path(flipkd.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    for changes in (names, names | {"HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "HF_ENDPOINT": "http://127.0.0.1:9"}):
        environment = os.environ | changes | {"PYTHONPATH": os.pathsep.join(path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        expected = tmp_path / "own" / "models--flip--bank-matcher" / "snapshots" / sha
        assert (done.returncode, done.stdout.strip()) == (0, str(expected)), done.stderr


def test_the_page_answers_each_point_of_the_template_of_the_hub():
    template = (Path(huggingface_hub.__file__).parent / "templates" / "modelcard_template.md").read_text()
    points = re.findall(r"^(?:##+ |- \*\*|\*\*)([^:\n*{]+)", template, re.MULTILINE)
    points = [point.replace("[optional]", "").strip() for point in points]
    page = (Path(__file__).parents[1] / "docs" / "hub.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|`]+) \|", page.split("point by point")[1], re.MULTILINE)
    assert len(points) > 40
    assert rows[2:] == points


@pytest.mark.parametrize("xet", [True, False])
def test_upload_writes_the_files_of_a_matcher_and_deletes_stale_ones(hub, folder, monkeypatch, tmp_path, xet):
    use_hub(monkeypatch, hub.url, tmp_path / "cache", xet=xet)  # huggingface_hub has a way of its own for each
    address = upload_matcher(folder, NAME, token=TOKEN, message="first")
    files = hub.repositories[NAME].files()
    assert address == f"{hub.url}/{NAME}/commit/{hub.repositories[NAME].branches['main']}"
    assert hub.repositories[NAME].messages == ["first"]
    assert set(files) - {".gitattributes"} == set(read_json(folder / MANIFEST)["files"]) | {MANIFEST}
    shutil.rmtree(folder / "teacher")
    upload_matcher(folder, NAME, token=TOKEN)
    assert not [name for name in hub.repositories[NAME].files() if name.startswith("teacher/")]
    assert ".gitattributes" in hub.repositories[NAME].files()
    upload_matcher(folder, NAME, token=TOKEN, revision="v2")
    assert set(hub.repositories[NAME].branches) == {"main", "v2"}


def test_upload_matcher_refuses(hub: Hub, folder):
    with pytest.raises(UsageError, match="not the id of a repository of the hub; write OWNER/NAME"):
        upload_matcher(folder, "matcher", token=TOKEN)
    with pytest.raises(ArtefactError, match="or log in with hf auth login, or set HF_TOKEN"):
        upload_matcher(folder, NAME)
    assert hub.repositories == {}
    upload_matcher(folder, NAME, token=TOKEN)
    with pytest.raises(RefusedError, match="exists and is public; make it private"):
        upload_matcher(folder, NAME, token=TOKEN, private=True)
    upload_matcher(folder, "flip/hidden", token=TOKEN, private=True)
    assert hub.repositories["flip/hidden"].private
    (folder / "README.md").write_text("---\nlicense: nonsense\n---\n# Matcher\n")
    with pytest.raises(ArtefactError, match=r"README\.md: the hub refuses this card \(.*license"):
        upload_matcher(folder, "flip/third", token=TOKEN)
    assert "flip/third" not in hub.repositories
