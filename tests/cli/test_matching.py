"""Command line of the matcher commands: wrong folders, a moved base model, rejected starts of the server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import flipkd, given, student

from flipkd.command_config import ServeConfig
from flipkd.commands.serve import LIMITS
from flipkd.files import write_manifest
from flipkd.serve.limits import Limits

PLAIN = {"objectives": "{answer_cross_entropy: 1}"}
TEXTS = "id,question\n007,how do I reset my pin\n008,where is my transfer\n"


def rows_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_matching_commands_reject_folders_that_are_not_models(pair_files, base_models, taught, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    train = ("train", *given(pair_files), "--output_dir")
    for arguments, expected in (
        ([*train, tmp_path / "1", *student(tmp_path / "empty", **PLAIN)], "no config.json"),
        (
            [*train, tmp_path / "2", *student(base_models["llama"]), "--teacher", tmp_path / "empty"],
            "not a teacher folder, it contains no teacher.json",
        ),
        ([*train, tmp_path / "3", *student(base_models["llama"])], "needs a teacher: give --teacher FOLDER"),
        (["match", "--matcher", tmp_path / "empty", pair_files["test"]], "holds no matcher.json; give a folder that"),
        (["match", "--matcher", tmp_path / "nowhere", pair_files["test"]], "no such folder"),
        (["evaluate", "--matcher", taught, "--test_file", pair_files["test"]], "holds no matcher.json"),
        (["teach", *given(pair_files), "--teacher_name_or_path", tmp_path / "empty"], "without a usable model"),
        (["match", "--matcher", trained, pair_files["test"], "--base_model", base_models["qwen2"]], "hash"),
        (["match", "--matcher", trained, pair_files["test"], "--base_model", tmp_path / "empty"], "no config.json"),
        (["check", pair_files["test"], "--tokenizer", tmp_path / "empty"], "no tokenizer"),
    ):
        done = flipkd(*arguments, *(["--output_dir", tmp_path / "t"] if arguments[0] == "teach" else []))
        assert (done.code, done.out) == (4, ""), (arguments, done)
        assert expected in done.err, arguments
        assert "Traceback" not in done.err


def test_match_rejects_a_damaged_matcher_and_finds_a_moved_base_model(trained, base_models, pair_files, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(Path(trained, "matcher"), folder)
    weights = folder / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = flipkd("match", "--matcher", folder, pair_files["test"])
    assert (done.code, done.out) == (4, "")
    assert f"{weights}: sha256 mismatch" in done.err
    weights.write_bytes(whole)
    contract = json.loads((folder / "matcher.json").read_text())
    (folder / "matcher.json").write_text(json.dumps(contract | {"base_model_name_or_path": str(tmp_path / "gone")}))
    write_manifest(folder)
    one = ("match", "--matcher", folder, "--text1", "my card", "--text2", "my pin")
    done = flipkd(*one)
    assert done.code == 4
    assert "gone" in done.err
    assert "if the base model has moved, give its new path (--base_model)" in done.err
    done = flipkd(*one, "--base_model", base_models["llama"])
    assert (done.code, len(rows_of(done.out))) == (0, 1), done.err


@pytest.fixture
def faq(tmp_path):
    (tmp_path / "faq.csv").write_text(TEXTS, encoding="utf-8")
    return tmp_path / "faq.csv"


def test_index_explains_why_a_folder_is_not_an_encoder(faq, tiny_matcher, taught, tmp_path):
    for encoder, argument in (
        (tiny_matcher(), "reading=separate"),
        (tmp_path, "not a folder of flipkd teach or flipkd train"),
    ):
        refused = flipkd("index", faq, "--encoder", encoder, "--output_dir", tmp_path / "x")
        assert refused.code == 4
        assert argument in refused.err
        assert not (tmp_path / "x").exists()
    (tmp_path / "there").mkdir()
    again = flipkd("index", faq, "--encoder", taught, "--output_dir", tmp_path / "there")
    assert (again.code, "exists already" in again.err) == (5, True)
    taken = flipkd("index", faq, "--encoder", taught, "--output_dir", tmp_path / "x", "--keep", "score")
    assert (taken.code, "--keep score" in taken.err) == (2, True)


def test_index_prints_one_line_and_search_requires_an_index(faq, taught, trained, tmp_path):
    done = flipkd("index", faq, "--encoder", taught, "--output_dir", tmp_path / "index", "--keep", "id")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{tmp_path / 'index'}: 2 texts, vectors of width ")
    arguments = ("search", "my pin", "--matcher", trained)
    assert flipkd(*arguments).code == 2
    assert flipkd(*arguments, "--index", tmp_path / "index", "--top_k", 0).code == 2
    empty = flipkd("search", " ", "--matcher", trained, "--index", tmp_path / "index")
    assert (empty.code, "the query is empty" in empty.err) == (3, True)
    none = flipkd(*arguments, "--index", tmp_path)
    assert (none.code, "make an index with flipkd index" in none.err) == (4, True)


@pytest.mark.scenario("S14", "X11")
def test_serve_rejects_bad_options_before_loading(trained, tmp_path, monkeypatch):
    async def ends(*_: object) -> None:
        """What is not refused ends with 0."""

    monkeypatch.setattr("flipkd.serve.server._run", ends)
    start = ("serve", "--matcher", trained, "--port", 0)
    for host in ("0.0.0.0", "::", "192.0.2.1", "no.such.host.invalid"):
        open_to_all = flipkd(*start, "--host", host)
        assert open_to_all.code == 7
        assert "--api_key_file" in open_to_all.err
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    for allowed in (["--insecure"], ["--api_key_file", key]):
        started = flipkd(*start, "--host", "0.0.0.0", *allowed)
        assert (started.code, "http://0.0.0.0:" in started.err) == (0, True)
    assert "http://127.0.0.1:" in flipkd(*start).err
    for origins, code in (("https://shop.example,shop.example", 2), ("*", 7)):
        refused = flipkd(*start, "--cors_origins", origins)
        assert (refused.code, "--cors_origins" in refused.err) == (code, True)
    nowhere = flipkd("serve", "--matcher", tmp_path / "nowhere")
    assert (nowhere.code, "no such folder" in nowhere.err) == (4, True)
    for content, argument in (("short", "at least 16"), ("two words " * 4, "holds no key"), (None, "cannot be read")):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_text(content)
        refused = flipkd(*start, "--api_key_file", key)
        assert refused.code == 4
        assert argument in refused.err
    elsewhere = flipkd(*start, "--host", "no.such.host.invalid", "--insecure")
    assert elsewhere.code == 2
    assert "host no.such.host.invalid is not an address of this machine" in elsewhere.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = flipkd("serve", "--matcher", trained, "--port", taken.getsockname()[1])
        assert busy.code == 5
        assert f"cannot listen on 127.0.0.1 port {taken.getsockname()[1]}" in busy.err
        assert "choose another --port" in busy.err


def test_serve_names_the_missing_extra(trained):
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from flipkd.cli import main\n"
        f"sys.argv = ['flipkd', 'serve', '--matcher', {json.dumps(str(trained))}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "flipkd[serve]" in done.stderr


def test_serve_options_have_the_defaults_of_limits():
    limits, settings = Limits(), ServeConfig(matcher="m")
    for name in LIMITS:
        assert getattr(settings, name) == getattr(limits, name), name
