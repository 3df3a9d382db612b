"""locked_run: one run at a time in a folder, always with the settings that the run started with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flipkd import files, run_lock
from flipkd.errors import ArtefactError, ResourceError
from flipkd.files import read_json, write_json
from flipkd.run_lock import locked_run

OLD = b"old " * 50


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock", run_lock.RUN}


HOLD = """
import sys
from flipkd.run_lock import locked_run
with locked_run(sys.argv[1], {"seed": 0}):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.scenario("T9")
def test_locked_run_is_held_by_one_process_until_that_ends(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=-1, stdout=-1, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ArtefactError, match=f"{tmp_path}: another run is writing here"), locked_run(tmp_path, {}):
            pass
        holder.kill()
    with locked_run(tmp_path, {"seed": 0}):
        pass


def test_locked_run_releases_its_lock_when_the_block_fails(tmp_path):
    with pytest.raises(KeyError), locked_run(tmp_path, {}):
        raise KeyError
    with locked_run(tmp_path, {}):
        pass


def test_locked_run_deletes_only_what_killed_runs_left(tmp_path):
    for folder in (f"{files.TEMPORARY}0123abcd-model", "model", "checkpoint-5", f"sub/{files.TEMPORARY}x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / f"{files.TEMPORARY}file").write_bytes(OLD)  # another program may be writing it now
    with locked_run(tmp_path, {}):
        assert names(tmp_path) == {"model", "checkpoint-5", "sub", f"{files.TEMPORARY}file"}
        assert names(tmp_path / "sub") == {f"{files.TEMPORARY}x"}


@pytest.mark.scenario("T5")
def test_locked_run_lists_changed_settings_with_both_values(tmp_path):
    began = {"config": {"seed": 0, "template": {"left": "A"}, "lora_layers": None, "text": "t" * 500}, "data": "abc"}
    with locked_run(tmp_path / "run", began):
        assert read_json(tmp_path / "run" / "run.json") == began
    with locked_run(tmp_path / "run", began):
        pass
    now = {"config": {"seed": 1, "template": {"left": "B"}, "text": "u" * 500}, "data": "abc"}
    with (
        pytest.raises(ArtefactError, match=f"^{tmp_path}/run: holds a run") as caught,
        locked_run(tmp_path / "run", now),
    ):
        pass
    message = str(caught.value)
    assert "(seed was 0, now 1" in message
    assert "; template.left was 'A', now 'B'" in message
    assert "data" not in message.partition("(")[2].partition(")")[0]
    assert "lora_layers" not in message
    assert "t" * 80 not in message
    assert read_json(tmp_path / "run" / "run.json") == began


def test_changed_files_are_listed_without_their_hashes(tmp_path):
    with locked_run(tmp_path / "run", {"data": {"train": "a" * 64, "validation": "b" * 64}}):
        pass
    with (
        pytest.raises(ArtefactError, match=r"\(data\.train has other content; data\.validation was given, now None\)"),
        locked_run(tmp_path / "run", {"data": {"train": "c" * 64}}),
    ):
        pass
    with locked_run(tmp_path / "lists", {"files": ["a" * 64, "b" * 64], "columns": []}):
        pass
    with (
        pytest.raises(ArtefactError, match=r"\(columns was \[\], now \['a'\]; files has other content\)"),
        locked_run(tmp_path / "lists", {"files": ["a" * 64], "columns": ["a"]}),
    ):
        pass


def test_locked_run_lets_mutable_keys_change(tmp_path):
    with locked_run(tmp_path, {"config": {"seed": 0, "save_steps": 10}}):
        pass
    with locked_run(tmp_path, {"config": {"seed": 0, "save_steps": 20}}, mutable_keys=frozenset({"save_steps"})):
        pass
    with (
        pytest.raises(ArtefactError, match="seed was 0, now 5"),
        locked_run(tmp_path, {"config": {"seed": 5}}, mutable_keys=frozenset({"save_steps"})),
    ):
        pass


@pytest.mark.parametrize("text", ["", "[]", "3"])
def test_locked_run_refuses_a_run_json_that_is_not_an_object(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"run\.json: not"), locked_run(tmp_path, {}):
        pass


def test_locked_run_names_the_folder_of_another_command_in_one_sentence(tmp_path):
    write_json(tmp_path / run_lock.RUN, {"config": {"loss": "cosent", "folds": 0, "seed": 0}, "model": "a"})
    config = dict.fromkeys(("reading", "lora_r", "score", "dtype", "seed"), 1)
    with pytest.raises(ArtefactError) as refused, locked_run(tmp_path, {"config": config}):
        pass
    assert str(refused.value).endswith(
        "holds a run of another command (see run.json in it); choose another --output_dir"
    )


@pytest.mark.parametrize("key, said", [("threads", True), ("device", True), ("torch", False)])
def test_locked_run_names_resume_elsewhere_only_where_it_helps(tmp_path, key, said):
    values = {"threads": 1, "device": "cpu", "torch": "2"}
    with locked_run(tmp_path, {"environment": values}):
        (tmp_path / "model").mkdir()
    with pytest.raises(ArtefactError) as refused, locked_run(tmp_path, {"environment": values | {key: "other"}}):
        pass
    assert ("--resume_elsewhere" in str(refused.value)) is said


def test_locked_run_names_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with (
        pytest.raises(ResourceError, match=r"notes\.txt is a file; choose another folder"),
        locked_run(tmp_path / "notes.txt", {}),
    ):
        pass
