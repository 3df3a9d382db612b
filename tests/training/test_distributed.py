"""`flipkd train` in two processes, with a complete or a sharded base: stopped, killed and resumed it ends where one ends."""

import json
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import forked
import numpy as np
import pytest
from command_line import flipkd, given, student
from tiny import make_table

from flipkd.files import check_manifest
from flipkd.student.loading import load_student
from flipkd.student.scoring import score_pairs
from flipkd.training.metrics_file import METRICS

pytestmark = pytest.mark.slow
CHILD = Path(__file__).parent / "ranks_child.py"
CONFIGURATION = Path(__file__).parent / "fsdp.yaml"  # the one in docs/gpu.md
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
STEPS = 24  # of 48 pairs and as many mined ones, in twos of 4, for two epochs


class Launches(NamedTuple):
    folder: Path
    words: list[str]
    done: dict[str, subprocess.CompletedProcess[str]]
    checkpoints: dict[str, set[str]]


def words_for(base_models, pair_files, taught, folder, **changes) -> list[str]:
    settings = {"logging_steps": 1, "save_steps": 7, "save_total_limit": 9, "per_device_train_batch_size": 4}
    settings |= {"log_gradient_norms": True, "average_weights": 0.5}
    options = ["--teacher", taught, "--output_dir", str(folder)]
    return ["train", *given(pair_files), *student(base_models["llama"], **(settings | changes)), *options]


def losses(folder: Path, name: str = "loss") -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    assert len({line["step"] for line in lines if "loss" in line}) == sum("loss" in line for line in lines)
    return {line["step"]: line[name] for line in lines if "loss" in line}


@pytest.fixture(scope="module")
def launches(base_models, pair_files, taught, tmp_path_factory) -> Launches:
    folder = tmp_path_factory.mktemp("ranks") / "run"
    words = words_for(base_models, pair_files, taught, folder)
    done, checkpoints = {}, {}

    def note(name, process):
        done[name] = process
        checkpoints[name] = {p.name for p in folder.glob("checkpoint-*") if (p / "manifest.json").exists()}

    twice = ("--num_processes", 2)
    note("stopped", forked.run(CHILD, *words, *twice, FLIPKD_TEST=f"9:{int(signal.SIGTERM)}"))
    note("killed", forked.run(CHILD, *words, *twice, FLIPKD_TEST=f"17:{int(signal.SIGKILL)}"))
    accelerate = ("-m", "accelerate.commands.launch", "--multi_gpu", *twice, "--main_process_port", 0)
    note("finished", forked.run(*accelerate, "-m", "flipkd", *words))
    return Launches(folder, words, done, checkpoints)


@pytest.fixture(scope="module")
def alone(base_models, pair_files, taught, tmp_path_factory) -> Path:
    """The folder of the same run in one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert flipkd(*words_for(base_models, pair_files, taught, folder, per_device_train_batch_size=8)).code == 0
    return folder


def test_distributed_run_saves_and_stops_on_a_signal_to_one_rank(launches):
    done = launches.done["stopped"]
    assert done.returncode == 75, done.stderr
    assert done.stderr.count("flipkd: stopped at step") == 1
    # asked in step 10, known to all behind step 11
    assert launches.checkpoints["stopped"] == {"checkpoint-7", "checkpoint-11"}
    assert "bug" not in done.stderr


@pytest.mark.scenario("T8")
def test_distributed_run_ends_with_one_error_when_a_rank_is_killed(launches):
    done = launches.done["killed"]
    assert done.returncode == 5, done.stderr
    assert "flipkd: rank 1 was killed by signal 9" in done.stderr
    assert done.stderr.count("flipkd:") == 1
    assert "Traceback" not in done.stderr
    assert "checkpoint-14" in launches.checkpoints["killed"]


def test_distributed_run_resumes_in_the_second_epoch_and_equals_one_process(launches, alone):
    done = launches.done["finished"]
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("matcher:") == 1, "rank 0 alone shows the result"
    assert "resuming at checkpoint-14" in done.stderr
    check_manifest(launches.folder / "matcher")
    expected = losses(alone)
    assert list(expected) == list(range(1, STEPS + 1))
    assert losses(launches.folder) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    for name in ("grad_norm", "grad_norm_answer_cross_entropy", "grad_norm_in_batch_kl"):
        whole = losses(alone, name)
        assert losses(launches.folder, name) == pytest.approx(whole, rel=1e-2, abs=1e-2), name


def test_distributed_checkpoints_have_the_state_of_every_rank(launches):
    for step in (7, 14, 21):
        entries = json.loads((launches.folder / f"checkpoint-{step}" / "manifest.json").read_text())["files"]
        assert {"rng_state_0.pth", "rng_state_1.pth", "model.safetensors", "optimizer.pt"} <= entries.keys()
        check_manifest(launches.folder / f"checkpoint-{step}")


def test_distributed_run_refuses_to_resume_with_another_number_of_processes(launches):
    done = flipkd(*launches.words)
    assert done.code == 4
    assert "environment.processes was 2, now 1" in done.err
    assert "run with the same settings (--num_processes 2) to resume it" in done.err


@pytest.mark.parametrize("count, code, said", [(0, 2, "at least 1"), (3, 2, "has started 2")])
def test_distributed_run_refuses_an_impossible_number_of_processes(launches, monkeypatch, count, code, said):
    if count:
        for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
    done = flipkd(*launches.words, "--num_processes", count)
    assert (done.code, said in done.err) == (code, True)


def test_distributed_training_of_a_sharded_base_equals_that_of_a_complete_one(
    alone, base_models, pair_files, taught, tmp_path
):
    words = words_for(base_models, pair_files, taught, tmp_path / "run")
    killed = forked.run(CHILD, *words, "--num_processes", 2, FLIPKD_TEST=f"17:{int(signal.SIGKILL)}", **FSDP)
    assert killed.returncode == 5, killed.stderr
    assert "flipkd: rank 1 was killed by signal 9" in killed.stderr
    assert "Traceback" not in killed.stderr
    launcher = ("-m", "accelerate.commands.launch", "--config_file", CONFIGURATION, "--main_process_port", 0)
    resumed = forked.run(*launcher, "-m", "flipkd", *words)
    assert resumed.returncode == 0, resumed.stderr
    assert "each of 2 processes has a part of the base model" in resumed.stderr
    assert "resuming at checkpoint-14" in resumed.stderr
    for name in ("loss", "grad_norm", "grad_norm_answer_cross_entropy", "grad_norm_in_batch_kl"):
        expected = losses(alone, name)
        assert list(expected) == list(range(1, STEPS + 1))
        assert losses(tmp_path / "run", name) == pytest.approx(expected, rel=1e-4, abs=1e-5), name
    scores = [scores_of(folder / "matcher") for folder in (tmp_path / "run", alone)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def scores_of(matcher: Path) -> np.ndarray:
    check_manifest(matcher)
    table = make_table(16, seed=5)
    found = score_pairs(load_student(matcher)[0], table.left, table.right, return_embeddings=True)
    return np.stack([found.answer, found.cosine])
