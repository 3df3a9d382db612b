"""The benchmark for a GPU, run to its end on this machine with tiny models; its clock, and what it does about failures."""

import importlib.util
import io
import json
import shutil
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import pytest
import torch
from tiny import make_table

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"
SPEED = FOLDER.with_name("speed")
NAMES = (
    "measurements",
    "card",
    "clock",
    "pairs",
    "bench",
    "training",
    "scoring",
    "peers_on_card",
    "quality",
    "one_process",
)
FILES = {"measurements.json", "run.log", "quality.json", "quality.tar.gz"}
SYSTEMS = ["flipped", "teacher_finetuned"]  # one process of quality.py


def run(*words, script="run.py"):
    done = forked.run(FOLDER / script, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def gpu():
    """The benchmark's files as one namespace."""
    before, path = set(sys.modules), sys.path[:]
    sys.path[:0] = [str(FOLDER), str(SPEED)]
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in NAMES})
    finally:
        sys.path[:] = path
        for name in {path.stem for folder in (FOLDER, SPEED) for path in folder.glob("*.py")} - before:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pairs_folder, base_models, encoders):
    """The folder of a run of everything, quality as well, and what it printed."""
    folder = tmp_path_factory.mktemp("gpu")
    settings = {
        "train.dtype": "float32",
        "train.max_text_length": 16,
        "train.num_train_epochs": 1,
        "teach.num_train_epochs": 1,
    }
    words = ["--pairs_folder", pairs_folder, "--sets", "mqp_medical", "mrpc", "--seeds", 0, "--workers", 2]
    words += ["--systems", ",".join(SYSTEMS)]
    words += ["--models", f"gemma-3-270m={base_models['llama']}", f"all-MiniLM-L6-v2={encoders / 'bi'}"]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    given = ("--tiny", "--model", base_models["gemma3"], "--output_dir", folder)
    return folder, run(*given, "--seconds", 300, "--quality", *words)


@pytest.fixture(scope="module")
def measured(finished):
    folder, said = finished
    return SimpleNamespace(folder=folder, said=said, **json.loads((folder / "measurements.json").read_text()))


@pytest.fixture(scope="module")
def compared(finished):
    folder, _ = finished
    return SimpleNamespace(folder=folder, **json.loads((folder / "quality.json").read_text()))


@pytest.mark.slow
def test_measurements_are_all_made_or_have_a_reason(gpu, measured):
    wanted = gpu.measurements.measurements(gpu.measurements.TINY)
    assert list(measured.measurements) == [measurement.name for measurement in wanted]
    missing = {name: found["why"] for name, found in measured.measurements.items() if found["state"] != "measured"}
    assert all(name.partition("train_")[2].startswith("trl") for name in missing)
    assert set(missing.values()) <= {"trl is not installed"}
    assert len(measured.said.splitlines()) == len(wanted) + 2  # and the two comparisons


@pytest.mark.slow
def test_a_measurement_has_a_value_its_unit_and_what_made_it(measured):
    for name, found in measured.measurements.items():
        if found["state"] != "measured":
            continue
        assert found["value"] > 0, name
        assert found["unit"] in ("pairs/s", "FLOP/s", "bytes/s")
        assert found["settings"]
        assert found["took_seconds"] > 0
        assert (found["peak_memory_bytes"] is None) == (not torch.cuda.is_available())
        if found["unit"] == "pairs/s":
            assert found["settings"]["batch"] == "as many as fit" or found["settings"]["batch"] > 0
            assert found["pairs"] / found["seconds"] == pytest.approx(found["value"], rel=0.1)
        if found["unit"] == "pairs/s" and not name.endswith(("trl", "trl_packed", "sentence_transformers", "_tokens")):
            product = measured.measurements["product"]["value"]
            assert found["share_of_product"] == pytest.approx(found["flops_per_second"] / product)
    assert measured.versions["torch"] == measured.card["torch"] == torch.__version__
    assert measured.tiny


@pytest.mark.slow
def test_measurements_have_the_batches_that_were_asked_for(measured):
    from flipkd.config import TrainConfig

    batches = {
        name: found["settings"].get("batch") for name, found in measured.measurements.items() if "settings" in found
    }
    assert batches["student_train_flipped_4"] == batches["student_train_plain_4"] == 4
    assert batches["student_score_8"] == 8
    assert batches["student_train_sentence_transformers"] == batches["student_train_plain"]
    default = TrainConfig.model_fields["per_device_train_batch_size"].default
    assert default in (None, batches["student_train_plain"])
    tokens = measured.measurements["layers_train_plain_256_tokens"]
    assert tokens["settings"]["batch"] * tokens["tokens_per_pair"] == pytest.approx(256, rel=0.25)


@pytest.fixture
def measure_here(gpu, tmp_path, monkeypatch):
    """`measure_here(names, model, until)`: one_process.py in this process; the results and the lines it printed."""
    monkeypatch.setattr(
        gpu.one_process.faulthandler, "dump_traceback_later", lambda *_, exit: None
    )  # needs a real stderr

    def measure(names: list[str], model: str, until: float) -> tuple[dict[str, dict[str, Any]], str]:
        size, channel = gpu.measurements.TINY, io.StringIO()
        results = gpu.one_process.Results(tmp_path / "measurements.json")
        bench = gpu.bench.Bench(model, None, size, tmp_path, "cpu", found=results.found, tiny=True)
        chosen = gpu.measurements.select(size, names)
        code = gpu.one_process.all_of_them(chosen, bench, results, size=size, until=until, channel=channel)
        assert code == 0
        return json.loads((tmp_path / "measurements.json").read_text())["measurements"], channel.getvalue()

    return measure


def test_measurements_name_what_there_is_no_time_for(measure_here, base_models):
    found, said = measure_here(["product", "student_score"], str(base_models["gemma3"]), time.time())
    assert [result["state"] for result in found.values()] == ["skipped", "skipped"]
    assert said.startswith("product: skipped, ")


def test_measurements_record_a_failure_and_continue_with_the_others(measure_here, capsys):
    found, said = measure_here(["product", "copy", "student_score"], "/no/such/model", time.time() + 100)
    states = {name: result["state"] for name, result in found.items()}
    assert states == {"product": "measured", "copy": "measured", "student_score": "failed"}
    assert "/no/such/model" in found["student_score"]["why"]
    assert "student_score: failed, " in said
    assert "Traceback" in capsys.readouterr().err


# The clock


def stepped(clock, seconds_per_step, *, compiles_until=0):
    """The step after which the clock stops a training of a hundred steps an epoch; 0 when it does not."""
    import torch._dynamo.utils

    clock.on_train_begin(SimpleNamespace(train_batch_size=4, gradient_accumulation_steps=2), None, None)
    for step in range(1, 200):
        time.sleep(seconds_per_step)
        if step <= compiles_until:
            torch._dynamo.utils.counters["frames"]["total"] += 1
        control = SimpleNamespace(should_training_stop=False)
        clock.on_step_end(None, SimpleNamespace(global_step=step, epoch=step / 100), control)
        if control.should_training_stop:
            return step
    return 0


def test_clock_window_begins_when_nothing_was_compiled_for_some_steps(gpu):

    clock = gpu.clock.Clock(warm_steps=3, window=0.01, patience=60)
    assert stepped(clock, 0.005, compiles_until=7) == 7 + 3 + gpu.clock.LEAST_STEPS
    found = clock.result(pairs=800)
    assert (found["warm_up_steps"], found["steps"], found["pairs"]) == (10, 5, 40)
    assert found["value"] == pytest.approx(40 / found["seconds"])
    assert found["seconds"] >= 5 * 0.005
    assert found["compiled_in_window"] == 0
    assert clock.batch == 8


def test_clock_takes_a_few_slow_steps_as_warm_up_enough(gpu):
    clock = gpu.clock.Clock(warm_steps=100, window=0.05, patience=60)
    stepped(clock, 0.02)
    assert clock.result(pairs=800)["warm_up_steps"] == gpu.clock.LEAST_STEPS


def test_clock_patience_ends_a_warm_up_that_does_not_end(gpu):
    clock = gpu.clock.Clock(warm_steps=3, window=0.01, patience=0.02)
    assert 0 < stepped(clock, 0.005, compiles_until=100) < 20
    assert clock.result(pairs=800)["compiled_in_window"] > 0


def test_clock_of_a_run_that_ends_too_soon_has_no_result(gpu):
    clock = gpu.clock.Clock(warm_steps=1, window=60, patience=60)
    assert stepped(clock, 0) == 0
    with pytest.raises(RuntimeError, match="before its window"):
        clock.result(pairs=800)


# Memory, pairs


def test_fitting_tries_half_a_batch_where_memory_runs_out(gpu):
    tried = []

    def work(batch):
        tried.append(batch)
        if batch > 20:
            raise torch.OutOfMemoryError("no")
        return batch

    assert gpu.bench.fitting(64, work) == 16
    assert tried == [64, 32, 16]
    with pytest.raises(torch.OutOfMemoryError):
        gpu.bench.fitting(10_000, work)
    with pytest.raises(ZeroDivisionError):
        gpu.bench.fitting(64, lambda batch: batch / 0)


def test_memory_that_runs_out_in_fit_is_known_by_its_cause(gpu):
    from flipkd.errors import ResourceError

    error = ResourceError("memory ran out")
    assert not gpu.bench.of_memory(error)
    error.__cause__ = torch.OutOfMemoryError("no")
    assert gpu.bench.of_memory(error)


def test_made_up_has_many_pairs_that_are_the_same_each_time(gpu):
    first, second = (gpu.pairs.made_up(500, words=(6, 17)) for _ in range(2))
    assert first == second
    assert len(set(first.left)) == len(set(first.right)) == 500
    assert {len(text.split()) for text in first.left} == set(range(6, 18))
    assert sum(first.label) == 250


def test_measurements_of_a_full_run_have_estimates_that_leave_the_bars_within_nine_minutes(gpu):
    wanted = gpu.measurements.measurements(gpu.measurements.FULL)
    names = [measurement.name for measurement in wanted]
    assert len(set(names)) == len(names)
    last = names.index("student_score_sentence_transformers")
    assert sum(measurement.estimate for measurement in wanted[: last + 1]) < 400


# Quality


@pytest.fixture(scope="module")
def pairs_folder(tmp_path_factory):
    """Pairs of mrpc, and of mqp_medical a folder whose test pairs have no labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("sets")
    for name in ("mrpc", "mqp_medical"):
        (folder / name).mkdir()
        for seed, (split, n) in enumerate({"train": 48, "validation": 24, "test": 24}.items()):
            table = make_table(n, seed=seed)
            columns = {"text_a": table.left, "text_b": table.right, "label": table.label}
            if (name, split) == ("mqp_medical", "test"):
                del columns["label"]
            pq.write_table(pa.table(columns), folder / name / f"{split}.parquet")
    return folder


@pytest.mark.slow
def test_quality_runs_units_side_by_side_and_records_what_became_of_each(compared):
    assert compared.missing == [f"mqp_medical-{name}-seed0" for name in SYSTEMS]
    assert sorted(compared.units) == sorted(f"mrpc-{name}-seed0" for name in SYSTEMS)
    states = {name: job["state"] for name, job in compared.jobs.items()}
    assert states == {"mqp_medical-flipped-seed0": "failed", "mrpc-flipped-seed0": "finished"}
    assert "label" in compared.jobs["mqp_medical-flipped-seed0"]["why"]
    for name in SYSTEMS:
        found = compared.sets["mrpc"][name]
        assert found["seeds"] == [0]
        assert 0 <= found["f1"] <= 1
        assert found["average_precision"] == compared.units[f"mrpc-{name}-seed0"]["average_precision"] > 0


@pytest.mark.slow
def test_quality_puts_results_scores_and_logs_into_one_archive(compared):
    with tarfile.open(compared.folder / "quality.tar.gz") as tar:
        names = tar.getnames()
        result = json.load(tar.extractfile("results/mrpc-flipped-seed0.json"))
    assert result["metrics"]["test"]["f1"] == compared.units["mrpc-flipped-seed0"]["f1"]
    assert {name.partition("/")[0] for name in names} == {"results", "scores", "logs"}
    assert len([name for name in names if name.startswith("scores/")]) == len(SYSTEMS)
    assert {path.name for path in compared.folder.iterdir()} == FILES


def test_quality_stops_a_comparison_when_the_time_is_up(tmp_path, pairs_folder):
    words = ("--pairs_folder", pairs_folder, "--sets", "mrpc", "--workers", 1, "--seconds", 0.5, "--seeds", 0)
    run(*words, "--output_dir", tmp_path, script="quality.py")
    found = json.loads((tmp_path / "quality.json").read_text())
    assert found["missing"] == [f"mrpc-{name}-seed0" for name in (*SYSTEMS, "plain")]
    assert found["jobs"]["mrpc-plain-seed0"] == {"state": "waiting"}
    assert found["jobs"]["mrpc-flipped-seed0"]["state"] == "stopped"


def test_quality_does_not_start_jobs_with_all_results_again(tmp_path, pairs_folder):
    work_dir = tmp_path / "work"
    for name in SYSTEMS:
        result = work_dir / "mrpc-flipped-seed0" / "results" / f"mrpc-{name}-seed0.json"
        result.parent.mkdir(parents=True, exist_ok=True)
        metrics = {"test": {"f1": 0.5, "average_precision": 0.25}}
        result.write_text(
            json.dumps(
                {"data": "mrpc", "name": name, "seed": 0, "seconds": 1, "peak_memory_bytes": 1, "metrics": metrics}
            )
        )
        (work_dir / "mrpc-flipped-seed0" / "scores").mkdir(exist_ok=True)
        (work_dir / "mrpc-flipped-seed0" / "scores" / f"mrpc-{name}-seed0.safetensors").write_bytes(b"")
    words = ("--pairs_folder", pairs_folder, "--sets", "mrpc", "--work_dir", work_dir, "--seeds", 0)
    run(*words, "--systems", ",".join(SYSTEMS), "--output_dir", tmp_path / "out", script="quality.py")
    found = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert (found["missing"], found["jobs"]) == ([], {})
    assert sorted(found["units"]) == sorted(f"mrpc-{name}-seed0" for name in SYSTEMS)


def test_jobs_begin_with_those_that_answer_the_main_question(gpu):
    first = [job.units[0] for job in gpu.quality.jobs(("a", "b"), (0, 1))]
    assert first[:4] == ["a-flipped-seed0", "b-flipped-seed0", "a-plain-seed0", "b-plain-seed0"]
    assert len(first) == 8
    asked = gpu.quality.jobs(("a",), (0,), [("plain", "plain+teacher"), ("swap",)])
    assert [job.units for job in asked] == [["a-plain-seed0", "a-plain+teacher-seed0"], ["a-swap-seed0"]]
    of_one_set = gpu.quality.jobs(("a", "b"), (0,), [("b:plain", "swap"), ("flipped",)])
    assert [job.units for job in of_one_set] == [
        ["b-plain-seed0", "b-swap-seed0"],
        ["a-flipped-seed0"],
        ["b-flipped-seed0"],
    ]


# The page


@pytest.fixture(scope="module")
def page(gpu):
    """page.py by its path: benchmarks/speed has one of its own."""
    spec = importlib.util.spec_from_file_location("gpu_page", FOLDER / "page.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_page_check_finds_the_figures_of_the_results(page):
    text = page.PAGE.read_text(encoding="utf-8")
    assert "<!-- gpu -->" in text
    assert text == page.filled(text), "run: python benchmarks/gpu/page.py"


@pytest.mark.slow
def test_page_section_of_a_run(page, measured, compared, tmp_path):
    assert page.section(tmp_path) == page.NOT_RUN
    shutil.copy(measured.folder / "measurements.json", tmp_path)
    shutil.copy(compared.folder / "quality.json", tmp_path)
    text = page.section(tmp_path)
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:]]
        for line in text.splitlines()
        if (cells := line.split("|"))[1:]
    }
    assert set(measured.measurements) <= set(rows)
    assert rows["gemma-3-270m, scoring, default batch"][1:4] == ["at least 10,000", "no", "pairs/s"]
    ours, theirs = (
        measured.measurements[f"student_train_{name}"]["value"] for name in ("plain", "sentence_transformers")
    )
    row = rows["gemma-3-270m, plain training against sentence-transformers"]
    assert row[0] == page.shown(ours / theirs)
    assert rows["7B-shaped layers, plain training, of the product rate"][0] == "not measured"  # at a full run's sizes
    assert "1 finished, 1 failed" in text or "1 failed, 1 finished" in text
    assert measured.command in text
    assert compared.command in text


def test_page_bars_compare_with_the_best_of_a_peer(page):
    found = {"student_train_plain": {"value": 900.0}, "student_train_trl": {"value": 100.0}}
    found["student_train_trl_packed"] = {"value": 300.0}
    assert page.times("student", "trl")(found) == 3
    assert page.times("layers", "trl")(found) is None
    shares = {
        f"layers_score_{tokens}_tokens": {"share_of_product": share} for tokens, share in ((8192, 0.5), (32768, 0.7))
    }
    assert page.best_share("score")(shares) == pytest.approx(70)
    (row,) = [line for line in page.bars(shares).splitlines() if "scoring, of the product" in line]
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["70", "at least 60", "yes", "%"]


def test_page_row_of_a_failed_measurement_has_its_reason(page):
    cells = page.row("a", {"state": "failed", "why": "memory ran out\nmore"})
    assert cells[:2] == ["a", "failed: memory ran out"]
