"""The speed benchmark on tiny models: what contenders report, how FLOPs and ratios are counted, what the page says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import flipkd
from forked import Forked
from tiny import build_model, make_table, write_pairs

FOLDER = Path(__file__).parents[2] / "benchmarks" / "speed"
OURS = ["train_plain", "train_flipped_joint", "train_flipped_separate", "score", "rank", "rank_joint"]
PEERS = ["train_trl", "train_sentence_transformers", "score_sentence_transformers", "score_generate"]
COUNT = 12


@pytest.fixture(scope="module")
def speed():
    """The benchmark's files as one namespace; they find each other because a script's folder is on the path."""
    names = (
        "breakdown",
        "growth",
        "machine",
        "ours",
        "page",
        "peers",
        "processes",
        "ranking_peers",
        "ratios",
        "run",
        "worker",
        "workload",
    )
    sys.path.insert(0, str(FOLDER))
    try:
        modules = {name: __import__(name) for name in names}
        yield SimpleNamespace(**modules)
    finally:
        sys.path.remove(str(FOLDER))
        for name in (*names, "llama_cpp_peer"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return str(write_pairs(tmp_path_factory.mktemp("speed") / "pairs.csv", make_table(20)))


@pytest.fixture
def task(speed, pairs, base_models):
    return speed.workload.read_task(pairs, str(base_models["gemma3"]))


@pytest.mark.parametrize("name", OURS)
def test_a_contender_of_ours_reports_what_it_did(speed, task, name):
    work = getattr(speed.ours, name)(task)(COUNT)
    assert work.pairs == COUNT
    assert work.seconds > 0
    assert (work.flops > 0) == name.startswith(("train", "score"))
    assert (work.scores is None) == name.startswith("train")
    if name.startswith("train_flipped"):
        plain = speed.workload.real_tokens(speed.workload.load_prompt(task.model), task.first(COUNT))
        assert (work.tokens > plain) == (name == "train_flipped_separate")


def test_rank_sentence_transformers_has_a_new_query_each_time(speed, task):
    asked = speed.ranking_peers.queries(task)
    first, second = asked.first(COUNT), asked.first(COUNT)
    assert first.left == [task.left[0]] * COUNT
    assert len({*first.left, *second.left}) == 2
    assert first.right == second.right == list(task.right[:COUNT])
    work = speed.ranking_peers.rank_sentence_transformers(task)(COUNT)
    assert (work.pairs, work.scores) == (COUNT, None)


@pytest.mark.parametrize("kind", ["score", "train"])
def test_texts_of_one_length_cost_what_their_tokens_cost(speed, task, kind):
    short, long = (getattr(speed.growth, f"{kind}_{length}")(task)(COUNT) for length in ("short", "long"))
    template = speed.workload.real_tokens(
        speed.workload.load_prompt(task.model), speed.workload.Task("", ["a"], ["a"], [1])
    )
    assert short.tokens == pytest.approx(COUNT * (2 * speed.growth.SHORT + template), abs=4 * COUNT)
    assert long.tokens - short.tokens == COUNT * 2 * (speed.growth.LONG - speed.growth.SHORT)
    assert long.flops > short.flops


def test_memory_is_that_of_scoring_all_pairs(speed, task):
    assert speed.growth.memory(task)(3 * COUNT).pairs == 3 * COUNT


def test_growth_run_starts_a_process_of_its_own(speed):
    assert speed.growth.run("import os, sys; print(os.getppid(), sys.argv[1])", "word") == f"{os.getpid()} word\n"
    with pytest.raises(subprocess.CalledProcessError):
        speed.growth.run("raise SystemExit(3)")


def test_startup_match_and_startup_load_do_their_work(speed, task, monkeypatch):
    def run_here(code, *words):
        """As growth.run, without the seconds of a new process."""
        if "flipkd" in code:
            return flipkd(*words).out
        monkeypatch.setattr(sys, "argv", ["-c", *words])
        exec(code, {})
        return ""

    monkeypatch.setattr(speed.growth, "run", run_here)
    work = speed.growth.startup_match(task)(1)
    assert len(work.scores) == 1
    assert speed.growth.startup_load(task)(1).seconds > 0


@pytest.mark.slow
def test_breakdown_has_the_time_of_each_kind_of_operator(speed, task, pairs, tmp_path):
    kinds = {
        "aten::mm": "matrix products",
        "aten::bmm": "attention",
        "aten::mul_": "elementwise",
        "aten::gelu_backward": "GELU",
        "aten::copy_": "casts and copies",
        "aten::_fused_adamw_": "optimiser",
        "aten::embedding": "all else",
    }
    assert {operator: speed.breakdown.piece_of(operator) for operator in kinds} == kinds
    speed.breakdown.main(["--pairs", pairs, "--model", task.model, "--results", str(tmp_path)])
    found = json.loads((tmp_path / "breakdown.json").read_text())
    for kind in ("train_plain", "score"):
        assert sum(found[kind]["shares"].values()) == pytest.approx(1)
        assert found[kind]["shares"]["matrix products"] > 0.05
        assert found["gemm"] > 0 < found[kind]["product_rate"]
    assert found["train_plain"]["shares"]["optimiser"] > 0 == found["score"]["shares"]["optimiser"]
    rows = speed.page.breakdown_rows(found)
    assert len(rows) == len(speed.breakdown.PIECES) + 2
    assert all(cell.endswith("%") for row in rows for cell in row[1:])


def test_rank_contenders_know_their_documents_and_have_a_new_query_each_time(speed, task):
    tokens = {}
    for room, name in (
        ("ours", "rank"),
        ("ours", "rank_joint"),
        ("growth", "rank_long"),
        ("growth", "rank_joint_long"),
    ):
        repetition = getattr(getattr(speed, room), name)(task)
        first, second = repetition(COUNT), repetition(COUNT)
        assert len(first.scores) == len(second.scores) == COUNT
        assert first.scores != second.scores
        tokens[name] = second.tokens
    assert tokens["rank_joint_long"] - tokens["rank_long"] > tokens["rank_joint"] - tokens["rank"] > 0


def test_unused_prompt_starts_a_repetition_with_nothing_tokenised(speed, task):
    prompt = speed.workload.load_prompt(task.model)
    prompt.text_ids(task.left)
    assert prompt._texts
    assert not speed.workload.unused(prompt)._texts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_works_on_the_same_pairs(speed, task, name):
    if name == "train_trl":
        pytest.importorskip("trl")
    work = getattr(speed.peers, name)(task)(COUNT)
    assert work.pairs == COUNT
    assert work.seconds > 0
    prompt = speed.workload.load_prompt(task.model)
    assert work.tokens == speed.workload.real_tokens(prompt, task.first(COUNT))


@pytest.mark.filterwarnings("ignore")
def test_a_peer_reads_our_prompt(speed, task):
    theirs = speed.peers.score_sentence_transformers(task)(COUNT).scores
    assert theirs == pytest.approx(speed.ours.score(task)(COUNT).scores, abs=0.05)
    prompt = speed.workload.load_prompt(task.model)
    whole = speed.workload.prompt_texts(prompt, task)[0]
    features = speed.peers.cross_encoder(task).preprocess([(task.left[0], task.right[0])])
    assert prompt.tokenizer.decode(features["input_ids"][0]) == prompt.tokenizer.bos_token + whole


def test_need_and_pick_name_a_peer_that_is_not_installed(speed):
    with pytest.raises(speed.workload.MissingError, match="no_such_package is not installed"):
        speed.peers.need("no_such_package")
    with pytest.raises(speed.workload.MissingError, match="no GGUF file"):
        speed.worker.pick({}, "llama_cpp_peer:join_gguf", what="function")("another", Path("never"))


# Counting


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_scoring_flops_and_training_flops_are_those_of_a_count_by_hand(speed):
    model = build_model("llama", vocabulary=300, layers=2)
    # width 32, 4 heads and 2 groups of 8: q 32x32, k and v 32x16 each, o 32x32; gate, up and down 32x48 each
    base = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48)
    assert speed.machine.body_parameters(model) == (base, 0)
    assert speed.machine.scoring_flops(model, tokens=10, pairs=3) == 2 * base * 10 + 2 * 2 * 32 * 3
    from peft import get_peft_model

    get_peft_model(model, speed.workload.lora_config(model))
    lora = 2 * 16 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48))
    assert speed.machine.body_parameters(model) == (base, lora)
    assert speed.machine.training_flops(model, tokens=10, pairs=3) == (4 * base + 6 * lora) * 10 + 4 * 2 * 32 * 3


def test_real_tokens_count_a_shared_prefix_once(speed, task):
    prompt = speed.workload.load_prompt(task.model)
    part = task.first(COUNT)
    rows = prompt.pair_rows(part.left, part.right)
    shared = len(prompt.instruction) + len(prompt.left_head)
    assert speed.workload.real_tokens(prompt, part) == sum(map(len, rows))
    assert speed.workload.real_tokens(prompt, part, shared_once=True) == sum(map(len, rows)) - shared * (COUNT - 1)


def test_task_first_starts_again_when_there_are_too_few_pairs(speed, task):
    part = task.first(45)
    assert len(part.left) == 45
    assert part.left[20:40] == part.left[:20]


def line(seconds, *, pairs=10, flops=100.0, peak=2**30, scores=None):
    work = {"seconds": seconds, "pairs": pairs, "flops": flops, "tokens": 5, "scores": scores}
    return work | {"peak_memory_bytes": peak}


@pytest.mark.parametrize(
    "unit, expected", [("pairs/s", 1 / 0.6), ("FLOP/s", 1 / 0.6), ("seconds", 0.6), ("bytes", 2.0)]
)
def test_a_ratio_is_the_median_of_paired_ratios(speed, unit, expected):
    ratio = speed.run.Ratio("name", "score", "score_generate", unit, 1)
    ours = [line(1.0, peak=2**31), line(3.0, peak=2**31), line(9.0, peak=2**31)]
    peer = [line(4.0), line(5.0), line(6.0)]  # ours take 0.25, 0.6 and 1.5 of their time
    result = speed.run.result_of(ratio, {"score": ours, "score_generate": peer}, [0, 1])
    assert result["ratio"] == pytest.approx(expected)
    assert result["contenders"]["peer"]["seconds"] == [4.0, 5.0, 6.0]
    assert {"name", "ratio", "ours", "peer", "unit"} <= result.keys()


def test_scores_that_differ_break_parity(speed):
    label = np.arange(400) % 2
    scores = (label + np.linspace(0, 0.5, 400)).tolist()
    found = speed.run.agreement(scores, scores, label)
    assert found["average_precision"] == {"ours": 1.0, "peer": 1.0}
    ratio = next(ratio for ratio in speed.run.RATIOS if ratio.same_as)
    lines = {name: [line(1.0, scores=scores)] for name in ratio.contenders}
    same = speed.run.result_of(ratio, lines, label)
    assert not speed.run.differs(same)
    told = {"command": "the command", "versions": {"torch": "2"}, "model": "m", "processor": "cpu", "threads": 2}
    assert "no parity" not in speed.page.table({ratio.name: same | told})
    other = speed.run.result_of(ratio, lines | {ratio.ours: [line(1.0, scores=scores[::-1])]}, label)
    assert speed.run.differs(other)
    assert other["parity"]["decisions_differ"] > 0.9
    assert "no parity" in speed.page.table({ratio.name: other | told})


def test_contenders_of_each_ratio_are_in_the_table_and_have_pairs(speed):
    named = {name for ratio in speed.run.RATIOS for name in ratio.contenders}
    assert named == set(speed.worker.CONTENDERS)
    assert all(speed.run.count_of(name, speed.run.COUNTS) > 0 for name in named - {"gemm"})
    assert set(speed.run.SLOW) <= named
    assert [speed.run.turns_of(name, 3) for name in ("train_trl", "train_plain")] == [2, 3]
    assert speed.run.turns_of("train_trl", 1) == 1


# Processes and pages


def test_worker_that_ends_is_reported_with_its_last_message(speed, pairs, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", Forked)
    with pytest.raises(speed.processes.Failed, match="no such file"):
        speed.processes.Worker("gemm", pairs=pairs + ".csv", model="none").wait_until_ready()


def test_take_turns_names_who_cannot_run_and_runs_the_others(speed, pairs, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", Forked)
    found = speed.run.take_turns(["nobody", "gemm"], pairs=pairs, model="none", repeats=2, counts={})
    assert list(found) == ["gemm"]
    assert len(found["gemm"]) == 2
    assert all(turn["flops"] / turn["seconds"] > 0 for turn in found["gemm"])
    assert {turn["threads"] for turn in found["gemm"]} == {speed.processes.threads()}
    assert "nobody: its process ended with 2" in capsys.readouterr().err


def test_page_check_finds_the_figures_of_the_results(speed, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["page.py", "--check"])
    speed.page.main()


def test_page_table_has_the_ratios_and_what_is_not_measured(speed, tmp_path):
    assert speed.page.table({}).count("not measured yet") == len(speed.run.RATIOS)
    ratio = speed.run.RATIOS[0]
    result = speed.run.result_of(ratio, {ratio.ours: [line(1.0)], ratio.peer: [line(20.0)]}, [])
    told = {"command": "the command", "versions": {"torch": "2"}, "model": "m", "processor": "cpu", "threads": 2}
    (tmp_path / f"{ratio.name}.json").write_text(json.dumps(result | told))
    text = speed.page.table(speed.page.read_results(tmp_path))
    first = next(row for row in text.splitlines() if ratio.name in row)
    assert [cell.strip() for cell in first.split("|")[2:7]] == ["20.00", "at least 15", "yes", "10", "0.5"]
    assert "the command" in text
    page = "before\n<!-- speed -->\nold\n<!-- /speed -->\nafter"
    assert "old" not in speed.page.filled(page, {})
    assert speed.page.reached(next(r for r in speed.run.RATIOS if r.unit == "bytes"), 1.3) == "no"
