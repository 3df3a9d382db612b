"""compare: every system on the same pairs, one result file each, nothing computed twice."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from command_line import flipkd, given

from flipkd import FlipkdError, Matcher, read_pairs
from flipkd.comparison.scores import Split, read_scores, save_scores, scores_path

NAMES = ["plain", "loud", "raw"]
TRAINED = ["plain", "no_teacher", "answer_kd", "paper", "shuffled_teacher", "flipped", "distilled_back"]
SYSTEMS = ["always_match", "tfidf", "teacher", "teacher_finetuned", "cross_encoder", "untrained", *TRAINED]
FLIPPED = {"flipped": 4, "distilled_back": 4}
KINDS = {"no_teacher": 3, "paper": 3, "shuffled_teacher": 3} | FLIPPED  # of scores: those that have vectors


@pytest.fixture(autouse=True)
def quick_summary(monkeypatch):
    """A summary of few resamples and a page of one line: test_summary.py and tests/report test both."""
    monkeypatch.setattr("flipkd.report.comparison.RESAMPLES", {"f1": 100, "average_precision": 100})
    monkeypatch.setattr("flipkd.report.page.render", lambda comparison: " ".join(comparison.names))


@pytest.fixture
def arguments(base_models, encoders, pair_files, tmp_path):
    config = {
        "train_file": pair_files["train"],
        "validation_file": pair_files["validation"],
        "test_file": pair_files["test"],
        "output_dir": str(tmp_path / "c"),
        "data": "tiny",
        "systems": ["tfidf", "untrained", "plain"],
        "teach": {"teacher_name_or_path": str(encoders / "bi"), "num_train_epochs": 1, "warm_start_pairs": 32},
        "train": {
            "model_name_or_path": str(base_models["llama"]),
            "dtype": "float32",
            "max_text_length": 16,
            "lora_r": 4,
            "readout_r": 8,
            "num_train_epochs": 1,
        },
    }
    (tmp_path / "compare.yaml").write_text(json.dumps(config))  # JSON is YAML
    return ["compare", "--config", str(tmp_path / "compare.yaml")]


@pytest.mark.slow
def test_compare_scores_every_system_and_resumes(arguments, pair_files, tmp_path):
    every = [*arguments, "--set", f"systems=[{','.join(SYSTEMS)}]", "--set", "train.keep_teacher=true"]
    done = flipkd(*every)
    assert done.code == 0, done.err
    names = [line.split("|")[2].strip() for line in done.out.splitlines()[2:] if line.startswith("|")]
    # By its answer, its cosine, and both together; and with the teacher that the matcher keeps.
    assert names == [row for name in SYSTEMS for row in [name] * KINDS.get(name, 1)]
    assert "* chosen on validation" in done.out
    files = {path.name: path for path in (tmp_path / "c" / "results").iterdir()}
    assert sorted(files) == sorted(f"tiny-{name}-seed0.json" for name in SYSTEMS)
    for path in files.values():
        result = json.loads(path.read_text())
        assert set(result["metrics"]) == {"validation", "test"}
        assert result["metrics"]["test"]["n"] == 24
        assert result["metrics"]["test"]["threshold"] == result["metrics"]["validation"]["threshold"]
        assert result["seconds"] >= 0
        assert result["peak_memory_bytes"] > 10**7
        assert all(value > 0 for value in result["cost"].values())
        assert ("train_pairs_per_second" in result["cost"]) == (result["system"] in TRAINED)
        assert result["command"].startswith("flipkd compare --config")
    flipped = json.loads(files["tiny-flipped-seed0.json"].read_text())
    assert sorted(flipped["by_score"]) == ["answer", "combined", "cosine", "with_teacher"]
    assert flipped["score"] == "with_teacher"
    no_teacher = json.loads(files["tiny-no_teacher-seed0.json"].read_text())
    assert sorted(no_teacher["by_score"]) == ["answer", "combined", "cosine"]
    measured = flipkd(
        "evaluate", "--matcher", tmp_path / "c" / flipped["matcher"], "--test_file", pair_files["test"], "--json"
    )
    by_matcher = json.loads(measured.out)["average_precision"]
    assert by_matcher == pytest.approx(flipped["metrics"]["test"]["average_precision"], abs=1e-6)
    runs = {
        name: tmp_path / "c" / json.loads(files[f"tiny-{name}-seed0.json"].read_text())["matcher"] for name in TRAINED
    }
    steps = {
        name: json.loads((run.parent / "metrics.jsonl").read_text().splitlines()[-1]) for name, run in runs.items()
    }
    assert len({line["step"] for line in steps.values()}) == 1, "all make as many steps"
    back = json.loads((runs["distilled_back"].parent / "run.json").read_text())["config"]
    assert back["teacher"] == back["init_from"] == str(runs["flipped"].parent), (
        "one run of the flipped student for both"
    )
    shuffled = json.loads(files["tiny-shuffled_teacher-seed0.json"].read_text())
    assert shuffled["by_score"] != flipped["by_score"]
    # The same path but for the teacher, which is no model that a matcher could keep.
    configs = [
        json.loads((runs[name].parent / "run.json").read_text())["config"] for name in ("flipped", "shuffled_teacher")
    ]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} == {
        "teacher",
        "output_dir",
        "keep_teacher",
    }
    times = {path: path.stat().st_mtime_ns for path in files.values()}
    assert done.err.count("duplicates of an earlier pair") == 1, "said once, though each system reads the pairs again"
    again = flipkd(*every)
    assert (again.code, again.out) == (0, done.out)
    assert {path: path.stat().st_mtime_ns for path in files.values()} == times


def test_compare_recomputes_a_blend_when_its_parts_change(arguments, tmp_path):
    requested = [*arguments, "--set", "systems=[tfidf+untrained, untrained]"]
    done = flipkd(*requested)
    assert done.code == 0, done.err
    assert "also computed, as parts of a blend: tfidf" in done.err
    rows = [[cell.strip() for cell in line.split("|")[2:4]] for line in done.out.splitlines()[2:] if "|" in line]
    assert rows == [["untrained", "answer"], ["tfidf", "cosine"], ["tfidf+untrained", "combined"]]
    results = tmp_path / "c" / "results"
    path = results / "tiny-tfidf+untrained-seed0.json"
    parts = {name: read_scores(scores_path(results / f"tiny-{name}-seed0.json")) for name in ("tfidf", "untrained")}
    columns = [parts["tfidf"]["cosine"], parts["untrained"]["answer"]]
    expected = np.linalg.lstsq(
        np.column_stack([column.validation for column in columns]),
        (found := read_scores(scores_path(path))["combined"]).validation,
        rcond=None,
    )[0]
    assert found.test == pytest.approx(np.column_stack([column.test for column in columns]) @ expected)
    before = path.read_bytes()
    assert flipkd(*requested).code == 0
    assert path.read_bytes() == before, "found"
    other = scores_path(results / "tiny-tfidf-seed0.json")
    turned = {kind: Split(-split.validation, split.test) for kind, split in read_scores(other).items()}
    digest = save_scores(other, turned)
    damaged = flipkd(*requested)
    assert (damaged.code, f"{other}: sha256 mismatch" in damaged.err, "delete the file" in damaged.err) == (
        4,
        True,
        True,
    )
    result = results / "tiny-tfidf-seed0.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"scores_sha256": digest}))
    assert flipkd(*requested).code == 0
    assert path.read_bytes() != before, "its part has other scores now"


@pytest.mark.slow
def test_compare_symmetric_reports_both_orders_without_choosing_them(arguments, tmp_path):
    both = ["--set", "systems=[plain, flipped]", "--set", "symmetric=true"]
    done = flipkd(*arguments, *both, "--set", "train.score=cosine")
    assert done.code == 0, done.err
    plain, flipped = (
        json.loads((tmp_path / "c" / "results" / f"tiny-{name}-seed0.json").read_text())
        for name in ("plain", "flipped")
    )
    assert list(plain["by_score"]) == ["answer", "answer_symmetric"]
    kinds = ["answer", "cosine", "combined"]
    assert list(flipped["by_score"]) == [*kinds, *(f"{kind}_symmetric" for kind in kinds)]
    assert (plain["score"], flipped["score"]) == ("answer", "cosine")
    contract = json.loads((tmp_path / "c" / flipped["matcher"] / "matcher.json").read_text())
    assert list(contract["score"]) == ["cosine"], "the score is the one that the matcher decides by"
    assert flipped["metrics"] == flipped["by_score"]["cosine"]
    scores = read_scores(scores_path(tmp_path / "c" / "results" / "tiny-flipped-seed0.json"))
    matcher = Matcher.from_pretrained(tmp_path / "c" / flipped["matcher"])
    pairs = read_pairs(json.loads((tmp_path / "compare.yaml").read_text())["test_file"])
    given = list(zip(pairs["text1"][:], pairs["text2"][:], strict=True))
    one, other = matcher.predict(given), matcher.predict([(b, a) for a, b in given])
    assert scores["cosine"].test == pytest.approx(one, abs=1e-5)
    assert scores["cosine_symmetric"].test == pytest.approx((one + other) / 2, abs=1e-5)
    assert flipkd(*arguments, "--set", "systems=[plain]").code == 0
    path = tmp_path / "c" / "results" / "tiny-plain-seed0.json"
    assert list(json.loads(path.read_text())["by_score"]) == ["answer"]


@pytest.mark.slow
def test_compare_recomputes_changed_settings_and_averages_seeds(arguments, tmp_path):
    few = [*arguments, "--set", "systems=[tfidf, untrained]"]
    assert flipkd(*few).code == 0
    path = tmp_path / "c" / "results" / "tiny-untrained-seed0.json"
    before = json.loads(path.read_text())
    template = "train.template={question: 'Same?'}"
    done = flipkd(*few, "--set", template, "--set", "seeds=[0, 1]")
    assert done.code == 0, done.err
    after = json.loads(path.read_text())
    assert before["by_score"] != after["by_score"]
    assert after["identity"]["train"]["template"] == {"question": "Same?"}
    assert after["overrides"] == {}  # the comparison's own setting, not a variant's
    assert (tmp_path / "c" / "scores" / "tiny-untrained-seed1.safetensors").exists()
    assert (tmp_path / "c" / "results" / "tiny-untrained-seed1.json").exists()
    assert "±" not in done.out, "neither of the two has a use for a seed"
    both = flipkd(*arguments, "--set", "systems=[plain]", "--set", "seeds=[0, 1]")
    assert "±" in both.out, both.err


@pytest.mark.slow
def test_compare_parses_variants_as_set_assignments(arguments, tmp_path):
    variants = (
        'variants={loud: ["learning_rate=0.03", "objectives.margin_hinge=0"], raw: ["system=plain", "lora_r=2"]}'
    )
    done = flipkd(*arguments, "--set", "systems=[plain, loud, raw]", "--set", variants)
    assert done.code == 0, done.err
    results = {
        name: json.loads((tmp_path / "c" / "results" / f"tiny-{name}-seed0.json").read_text()) for name in NAMES
    }
    assert [results[name]["system"] for name in NAMES] == ["plain", "flipped", "plain"]
    assert results["loud"]["overrides"]["learning_rate"] == 0.03
    assert results["loud"]["overrides"]["objectives"]["margin_hinge"] == 0
    assert results["raw"]["identity"]["train"]["lora_r"] == 2
    assert results["raw"]["identity"]["train"]["objectives"] == {"answer_cross_entropy": 1.0}
    assert (tmp_path / "c" / results["loud"]["matcher"] / "matcher.json").exists()
    whole = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [row["name"] for row in whole["summary"]] == NAMES
    assert [row["name"] for row in whole["differences"]["plain"]] == ["loud", "raw"]
    page = (tmp_path / "c" / "report.html").read_text()
    assert all(name in page for name in NAMES)


def test_compare_reuses_results_of_equal_settings(arguments, tmp_path):
    question = "template={question: 'Same?'}"
    requested = f'variants={{asked: ["system=untrained", "{question}"]}}'
    assert flipkd(*arguments, "--set", "systems=[asked]", "--set", requested).code == 0
    done = flipkd(*arguments, "--set", "systems=[untrained]", "--set", f"train.{question}")  # now the comparison's own
    assert done.code == 0, done.err
    before, after = (
        json.loads((tmp_path / "c" / "results" / f"tiny-{name}-seed0.json").read_text())
        for name in ("asked", "untrained")
    )
    assert before["seconds"] == after["seconds"]
    assert before["by_score"] == after["by_score"]
    assert (before["name"], after["name"]) == ("asked", "untrained")
    assert (list(before["overrides"]), after["overrides"]) == (["template"], {})
    first, second = (tmp_path / "c" / "scores" / f"tiny-{name}-seed0.safetensors" for name in ("asked", "untrained"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_compare_recomputes_a_variant_when_its_file_changes(arguments, pair_files, tmp_path):
    rows = Path(pair_files["train"]).read_text(encoding="utf-8").splitlines()
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(rows[: len(rows) // 2]) + "\n", encoding="utf-8")
    variant = f'variants={{half: ["system=cross_encoder", "teach.train_file={fewer}"]}}'
    requested = [*arguments, "--set", "systems=[cross_encoder, half]", "--set", variant]
    results = [tmp_path / "c" / "results" / f"tiny-{name}-seed0.json" for name in ("cross_encoder", "half")]
    for _ in range(2):  # computed, and found again
        done = flipkd(*requested)
        assert done.code == 0, done.err
        whole, half = (json.loads(path.read_text()) for path in results)
        assert whole["by_score"] != half["by_score"]
    fewer.write_text("\n".join(rows[: len(rows) // 4]) + "\n", encoding="utf-8")
    done = flipkd(*requested)
    assert done.code == 4
    assert "holds a run that started with other settings (data.train has other content" in done.err


def test_compare_recomputes_a_result_without_scores(arguments, tmp_path):
    one = [*arguments, "--set", "systems=[tfidf]"]
    assert flipkd(*one).code == 0
    (scores,) = (tmp_path / "c" / "scores").iterdir()
    before = scores.read_bytes()
    scores.unlink()
    assert flipkd(*one).code == 0
    assert scores.read_bytes() == before
    scores.write_bytes(before[:40])
    done = flipkd(*one)
    assert done.code == 4
    assert "delete the file and run the same command" in done.err


def test_compare_recomputes_metrics_from_stored_scores(arguments, tmp_path):
    one = [*arguments, "--set", "systems=[tfidf]", "--set", "seeds=[0, 0]"]
    first = flipkd(*one)
    assert first.code == 0, first.err
    (path,) = (tmp_path / "c" / "results").iterdir()
    assert first.out.count("tfidf") == 1, "a seed that is named twice is one run"
    right = path.read_text()
    wrong = json.loads(right)
    wrong["metrics"]["test"]["f1"] = wrong["by_score"]["cosine"]["test"]["f1"] = 2.0
    path.write_text(json.dumps(wrong))
    again = flipkd(*one)
    assert (again.code, again.out) == (0, first.out)
    assert path.read_text() == right


def test_compare_rejects_bad_settings(arguments, pair_files, tmp_path):
    done = flipkd(*arguments, "--set", "systems=[tfidff]")
    assert done.code == 4
    assert "no system is called 'tfidff'; did you mean 'tfidf'?" in done.err
    unlabelled = tmp_path / "unlabelled.csv"
    unlabelled.write_text(Path(pair_files["test"]).read_text(encoding="utf-8") + "one more,without a label,,\n")
    done = flipkd(*arguments, "--test_file", unlabelled)
    assert done.code == 3
    assert "rows have no label, the first is row 25; a comparison" in done.err
    done = flipkd(*arguments, "--set", "variants={tfidf: []}")
    assert "variants.tfidf: tfidf is the name of a system" in done.err
    done = flipkd(*arguments, "--set", 'variants={mine: ["system=plane"]}', "--set", "systems=[mine]")
    assert "variants.mine: no system is called 'plane'; did you mean 'plain'?" in done.err
    done = flipkd(*arguments, "--set", 'variants={mine: ["lora_r"]}', "--set", "systems=[mine]")
    assert "has no '='" in done.err
    done = flipkd(*arguments, "--set", "systems=[plain+tfidff]")
    assert "no system is called 'tfidff'; did you mean 'tfidf'?" in done.err
    done = flipkd(*arguments, "--set", "systems=[]")
    assert (done.code, "systems" in done.err) == (2, True)
    done = flipkd(*arguments, "--set", "train.lora_rr=3", "--set", "systems=[plain]")
    assert done.code == 4
    assert "no setting is called 'lora_rr'; did you mean 'lora_r'?" in done.err


def test_compare_reuses_results_under_another_data_name(arguments, tmp_path):
    assert flipkd(*arguments, "--set", "systems=[tfidf]", "--set", "data=a-b").code == 0
    assert flipkd(*arguments, "--set", "systems=[tfidf]", "--set", "data=a").code == 0
    one, other = (
        json.loads((tmp_path / "c" / "results" / f"{data}-tfidf-seed0.json").read_text()) for data in ("a", "a-b")
    )
    assert (one["data"], other["data"]) == ("a", "a-b")
    assert one["seconds"] == other["seconds"]


def test_compare_writes_the_summary_after_every_run(arguments, tmp_path, monkeypatch):
    def stop(_run):
        raise KeyboardInterrupt

    monkeypatch.setattr("flipkd.comparison.scorers.student", stop)
    assert flipkd(*arguments).code == 75
    whole = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [run["name"] for run in whole["units"]] == ["tfidf"]
    assert (tmp_path / "c" / "report.html").exists()


def one_after_the_other(work, numbers, *, processes):
    """As `run_in_processes`, which test_processes.py tests, without the seconds of imports that each process costs."""
    work = pickle.loads(pickle.dumps(work))
    levels = {name: logging.getLogger(name).level for name in ("flipkd.commands.pairs", "sentence_transformers")}
    for number in numbers:
        try:
            yield number, work(number)
        except FlipkdError as error:
            yield number, error
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_compare_in_processes_names_failed_runs_and_keeps_the_others(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("flipkd.comparison.compare.run_in_processes", one_after_the_other)
    broken = ["--set", "variants.broken=[system=untrained, 'lora_target_modules=[nonsense]']"]
    assert flipkd(*arguments, "--set", "systems=[always_match]").code == 0
    systems = "systems=[broken+tfidf, broken, tfidf, tfidf+always_match]"
    done = flipkd(*arguments, *broken, "--set", systems, "--num_processes", 2)
    assert done.code == 4, done.err
    assert "broken, seed 0 failed: lora_target_modules has 'nonsense'" in done.err
    assert "2 of 5 runs failed" in done.err, "the run, and the blend that it is a part of"
    assert done.err.count("duplicates of an earlier pair") == 1
    path = tmp_path / "c" / "results" / "tiny-tfidf-seed0.json"
    before = path.read_bytes()
    whole = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [run["name"] for run in whole["units"]] == ["tfidf", "always_match", "tfidf+always_match"]
    assert flipkd(*arguments, "--set", "systems=[tfidf]").code == 0
    assert path.read_bytes() == before, "the result is the one that a plain comparison finds"


def test_compare_with_options_only(pair_files, tmp_path):
    files = [*given(pair_files), "--test_file", pair_files["test"], "--output_dir", tmp_path / "c"]
    done = flipkd("compare", *files, "--set", "systems=[tfidf]")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "report.html",
        "results",
        "results.json",
        "scores",
    ]
