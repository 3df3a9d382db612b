"""match --engine ray: each row once though workers die, errors of workers and of the cluster, the number of workers."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest
from scored_files import LengthScorer, inputs, results

from flipkd.command_config import MatchConfig
from flipkd.commands import match_files as module
from flipkd.commands import match_ray
from flipkd.commands.match_files import match_files
from flipkd.commands.match_parts import Part
from flipkd.commands.match_ray import ATTEMPTS, PartScorer, score_with_ray
from flipkd.errors import ConfigError, NumbersError, ResourceError

PART = Part("00000-000000000001", "a.csv", 2)
BATCH = {"name": [PART.name], "file": [PART.file]}
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


def ray_config(**changes):
    return MatchConfig.check({"matcher": "m", "pairs": ["a.csv"], "output_dir": "o", "engine": "ray"} | changes)


@needs_ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.slow
@pytest.mark.scenario("B1")
def test_match_files_with_ray_has_each_row_once_though_workers_die(trained, tmp_path, monkeypatch):
    """A worker kills itself after it has scored a part."""
    files = inputs(tmp_path, sizes=(90, 40))
    expected = tmp_path / "here"
    base = {"matcher": trained, "pairs": files, "rows_per_part": 10}
    match_files(MatchConfig.check(base | {"output_dir": str(expected)}))
    (tmp_path / "kills").mkdir()
    monkeypatch.setattr("flipkd.commands.match_ray.PartScorer", dying_worker(str(tmp_path / "kills")))
    ray = {"output_dir": str(tmp_path / "ray"), "engine": "ray", "workers": 2}
    summary = match_files(MatchConfig.check(base | ray))
    assert len(list((tmp_path / "kills").iterdir())) == 1
    assert (summary["rows"], summary["rejected"]) == (130, 0)
    there, here = results(tmp_path / "ray"), results(expected)
    assert [(row["file"], row["row"]) for row in there] == [(row["file"], row["row"]) for row in here]
    assert [row["score"] for row in there] == pytest.approx([row["score"] for row in here], abs=1e-5)


def dying_worker(kills):
    """PartScorer that ends with SIGKILL once in all, between two files of the other."""

    class Dying(PartScorer):
        def __call__(self, batch):
            import os
            import signal

            result = super().__call__(batch)
            if "00001-000000000001" in batch["name"] and not os.listdir(kills):
                with open(f"{kills}/{os.getpid()}", "w"):
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

    return Dying


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """`worker()` -> a PartScorer whose matcher is LengthScorer; `worker.loaded` counts the matchers that were loaded."""
    (tmp_path / ".pairs").mkdir()

    def load(config):
        make.loaded += 1
        return LengthScorer(config)

    def make():
        return PartScorer(ray_config().model_dump(), str(tmp_path))

    make.loaded = 0
    monkeypatch.setattr("flipkd.commands.match_ray.Scorer", load)
    return make


def test_part_scorer_loads_its_matcher_once_and_names_the_parts_that_it_scored(worker, monkeypatch):
    scored = []
    monkeypatch.setattr(module, "score_part", lambda scorer, *part: scored.append(part[:2]))
    scorer, two = worker(), {"name": [PART.name, "00000-000000000003"], "file": ["a.csv", "a.csv"]}
    assert scorer(two) == {"name": two["name"], "error": ["", ""]}
    assert scorer(BATCH) == {"name": BATCH["name"], "error": [""]}
    assert scored == [(PART.name, "a.csv"), ("00000-000000000003", "a.csv"), (PART.name, "a.csv")]
    assert worker.loaded == 1


def test_part_scorer_returns_an_error_by_its_class_and_text(worker, monkeypatch):
    def fail(*_):
        raise NumbersError("a.csv: fails on all 2 rows")

    monkeypatch.setattr(module, "score_part", fail)
    assert worker()(BATCH)["error"] == ["NumbersError a.csv: fails on all 2 rows"]


def test_part_scorer_gives_up_on_a_part_on_which_workers_die(worker, monkeypatch):
    """Workers that die never reach the result; Ray alone would start new ones for ever."""

    def died(*_):
        raise SystemExit

    monkeypatch.setattr(module, "score_part", died)
    for _ in range(ATTEMPTS):
        with pytest.raises(SystemExit):
            worker()(BATCH)
    (error,) = worker()(BATCH)["error"]
    assert error.startswith("ResourceError a.csv: 3 workers died while they scored part 00000")


@pytest.fixture
def cluster(monkeypatch):
    """Stand-in for Ray: `total` are the resources of the cluster, `rows()` makes what its workers return."""
    ray, data, exceptions = ModuleType("ray"), ModuleType("ray.data"), ModuleType("ray.exceptions")
    found = SimpleNamespace(total={"CPU": 8.0}, rows=list, running=False, pool={}, given=())

    def map_batches(_scorer, *, compute, fn_constructor_args, batch_size, **resources):
        found.pool, found.given = {"workers": compute, **resources}, fn_constructor_args
        return SimpleNamespace(iter_rows=lambda: found.rows())

    exceptions.RayError = type("RayError", (Exception,), {})
    data.ActorPoolStrategy = lambda size: size
    data.DataContext = SimpleNamespace(get_current=SimpleNamespace)
    data.from_items = lambda rows, override_num_blocks: SimpleNamespace(map_batches=map_batches)
    ray.cluster_resources, ray.data = lambda: found.total, data
    ray.init = lambda **_: setattr(found, "running", True)
    ray.shutdown = lambda: setattr(found, "running", False)
    for each in (ray, data, exceptions):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.setattr(match_ray, "require_extra", lambda extra, *, user: None)
    found.RayError = exceptions.RayError
    return found


@pytest.mark.parametrize(
    "total, workers, parts, pool",
    [
        ({"CPU": 8.0}, None, 10, {"workers": 2, "num_cpus": 4}),
        ({"CPU": 8.0}, 3, 10, {"workers": 3, "num_cpus": 2}),
        ({"CPU": 2.0}, None, 10, {"workers": 1, "num_cpus": 2}),
        ({"CPU": 2.0}, 5, 10, {"workers": 2, "num_cpus": 1}),
        ({"CPU": 80.0}, None, 2, {"workers": 2, "num_cpus": 40}),
        ({"CPU": 80.0, "GPU": 4.0}, None, 10, {"workers": 4, "num_gpus": 1}),
        ({"CPU": 80.0, "GPU": 4.0}, 2, 10, {"workers": 2, "num_gpus": 1}),
        ({"CPU": 80.0, "GPU": 4.0}, 9, 10, {"workers": 4, "num_gpus": 1}),
        ({"CPU": 80.0, "GPU": 4.0}, None, 3, {"workers": 3, "num_gpus": 1}),
    ],
)
def test_score_with_ray_has_a_worker_for_each_gpu_or_group_of_cores(cluster, tmp_path, total, workers, parts, pool):
    cluster.total = total
    config = ray_config() if workers is None else ray_config(workers=workers)
    assert list(score_with_ray(config, [PART] * parts, tmp_path)) == []
    assert cluster.pool == pool


def test_score_with_ray_yields_finished_parts_and_counts_attempts_from_zero(cluster, tmp_path):
    cluster.rows = lambda: [{"name": PART.name, "error": ""}]
    (tmp_path / ".pairs").mkdir()
    attempts = tmp_path / ".pairs" / f"{PART.name}.attempts"
    attempts.write_text("3")
    config = ray_config()
    assert list(score_with_ray(config, [PART], tmp_path)) == [PART.name]
    assert not attempts.exists()
    assert cluster.given == (config.model_dump(), str(tmp_path.resolve()))
    assert not cluster.running


def test_score_with_ray_raises_the_error_of_a_worker_and_stops_the_cluster(cluster, tmp_path):
    cluster.rows = lambda: [{"name": PART.name, "error": "NumbersError a.csv: fails on all 2 rows"}]
    with pytest.raises(NumbersError, match=r"^a\.csv: fails on all 2 rows"):
        list(score_with_ray(ray_config(), [PART], tmp_path))
    assert not cluster.running


@pytest.mark.parametrize(
    "text, said", [("Traceback\n  a line\nthe node has died\n", "the node has died"), ("", "RayError")]
)
def test_score_with_ray_names_the_cause_when_the_cluster_fails(cluster, tmp_path, text, said):
    def fail():
        yield {"name": PART.name, "error": ""}
        raise cluster.RayError(text)

    cluster.rows = fail
    with pytest.raises(ResourceError, match=rf"the Ray cluster failed \(.{said}.*the finished parts are kept"):
        list(score_with_ray(ray_config(), [PART], tmp_path))
    assert not cluster.running


def test_score_with_ray_names_the_missing_package(monkeypatch, tmp_path):
    monkeypatch.setattr("flipkd.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"match --engine ray needs ray, .*flipkd\[ray\]"):
        list(score_with_ray(ray_config(), [PART], tmp_path))
