"""evaluate, calibrate and match as a user meets them: folders that are no matchers, or are over another base model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from commands import flipkd, given, student

from flipkd.files import write_manifest

PLAIN = {"objectives": "{answer_cross_entropy: 1}"}


def rows_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_folders_that_are_no_models(pair_files, base_models, taught, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    train = ("train", *given(pair_files), "--output_dir")
    for words, said in (
        ([*train, tmp_path / "1", *student(tmp_path / "empty", **PLAIN)], "no config.json"),
        (
            [*train, tmp_path / "2", *student(base_models["llama"]), "--teacher", tmp_path / "empty"],
            "is no folder that flipkd teach made (it holds no teacher.json)",
        ),
        ([*train, tmp_path / "3", *student(base_models["llama"])], "needs a teacher: give --teacher FOLDER"),
        (["match", "--matcher", tmp_path / "empty", pair_files["test"]], "holds no matcher.json; give a folder that"),
        (["match", "--matcher", tmp_path / "nowhere", pair_files["test"]], "no such folder"),
        (["evaluate", "--matcher", taught, "--test_file", pair_files["test"]], "holds no matcher.json"),
        (["teach", *given(pair_files), "--teacher_name_or_path", tmp_path / "empty"], "does not hold a usable model"),
        (["match", "--matcher", trained, pair_files["test"], "--base_model", base_models["qwen2"]], "hash"),
        (["match", "--matcher", trained, pair_files["test"], "--base_model", tmp_path / "empty"], "no config.json"),
        (["check", pair_files["test"], "--tokenizer", tmp_path / "empty"], "no tokenizer"),
    ):
        done = flipkd(*words, *(["--output_dir", tmp_path / "t"] if words[0] == "teach" else []))
        assert (done.code, done.out) == (4, ""), (words, done)
        assert said in done.err, words
        assert "Traceback" not in done.err


def test_a_damaged_matcher_is_refused_and_a_moved_base_model_is_found(trained, base_models, pair_files, tmp_path):
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
    assert "if the base model has moved, say where it is now (--base_model)" in done.err
    done = flipkd(*one, "--base_model", base_models["llama"])
    assert (done.code, len(rows_of(done.out))) == (0, 1), done.err
