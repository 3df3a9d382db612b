"""flipkd ab: answers joined with outcomes, versions chosen, clients who saw both left out, errors."""

import json

import numpy as np
import pytest
from command_line import flipkd

from flipkd.commands.ab import _decision


def write(folder, *, clients=400, rates=(0.2, 0.5), share=0.5, seed=0, with_clients=True):
    generator = np.random.default_rng(seed)
    log, outcomes = [], ["id,outcome"]
    for client in range(clients):
        new = generator.random() < share
        for visit in range(2):
            name = f"{client}-{visit}"
            row = {"id": name, "version": "v2" if new else "v1", "score": 0.1}
            log.append(json.dumps(row | ({"client": f"c{client}"} if with_clients else {})))
            if visit or generator.random() < 0.7:
                outcomes.append(f"{name},{int(generator.random() < rates[new])}")
    (folder / "log.jsonl").write_text("\n".join(log) + "\n", encoding="utf-8")
    (folder / "outcomes.csv").write_text("\n".join(outcomes) + "\n", encoding="utf-8")
    return "ab", "--log", folder / "log.jsonl", "--outcomes", folder / "outcomes.csv"


def test_a_better_version_is_found(tmp_path):
    arguments = write(tmp_path)
    done = flipkd(*arguments, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["control"]["version"], found["treatment"]["version"]) == ("v1", "v2")
    assert found["control"]["clients"] + found["treatment"]["clients"] == found["sequential"]["clients"] == 400
    assert found["control"]["answers"] + found["treatment"]["answers"] == 800
    assert found["difference"]["low"] > 0
    assert found["sequential"]["low"] > 0
    assert found["sequential"]["decided_at_outcome"] < 600
    assert not found["sample_ratio"]["mismatch"]
    text = flipkd(*arguments).out
    assert "decided since outcome" in text
    assert "the treatment is better" in text
    swapped = json.loads(flipkd(*arguments, "--control", "v2", "--json").out)
    assert swapped["difference"]["value"] == pytest.approx(-found["difference"]["value"])


def test_the_decision_is_that_of_the_sequential_test_whatever_a_client_with_many_outcomes_does():
    sequential = {"low": 0.137, "high": 0.247, "p_value": 1e-9, "decided_at_outcome": 360, "clients": 4000}
    assert _decision({"difference": {"value": -0.2}, "sequential": sequential}).endswith("the treatment is better")
    worse = sequential | {"low": -0.247, "high": -0.137}
    assert _decision({"difference": {"value": 0.2}, "sequential": worse}).endswith("the treatment is worse")


def test_ab_does_not_decide_without_a_difference(tmp_path):
    done = flipkd(*write(tmp_path, rates=(0.3, 0.3), with_clients=False))
    assert "not decided" in done.out
    assert "each answer counts as a client of its own" in done.err


def test_clients_shared_out_otherwise_than_intended_stop_the_finding(tmp_path):
    arguments = write(tmp_path, share=0.3)
    assert "SAMPLE RATIO MISMATCH" in (text := flipkd(*arguments).out)
    assert "decided" not in text
    assert "decided since" in flipkd(*arguments, "--share", 0.3).out


def test_versions_are_told_apart_by_the_name_of_the_matcher(tmp_path):
    arguments = write(tmp_path)
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    (tmp_path / "log.jsonl").write_text(text.replace('"version": "v', '"matcher": "faq-v'), encoding="utf-8")
    found = json.loads(flipkd(*arguments, "--by", "matcher", "--json").out)
    assert found["treatment"]["version"] == "faq-v2"


def test_a_client_of_both_versions_is_left_out(tmp_path):
    arguments = write(tmp_path)
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(
            '{"id": "more", "version": "v1", "client": "c0"}\n{"id": "again", "version": "v2", "client": "c0"}\n'
        )
    done = flipkd(*arguments, "--json")
    assert "1 of 400 clients were answered by both versions" in done.err
    assert json.loads(done.out)["sequential"]["clients"] == 399


@pytest.mark.parametrize(
    "line, more, code, message",
    [
        (
            '{"id": "a", "version": "v3"}',
            [],
            2,
            "choose two versions with --control and --treatment; it has 'v1', 'v2', 'v3'",
        ),
        (
            '{"id": "a", "version": "v3"}',
            ["--control", "v1", "--treatment", "v3"],
            3,
            "no outcome has the id of an answer by",
        ),
        ('{"id": "0-0", "version": "v3"}', [], 3, "the id '0-0' was answered twice, by different versions"),
        ('{"id": "b"}', [], 3, "has no id or no version"),
        ("", ["--treatment", "v7"], 2, "has no version 'v7'; it has 'v1', 'v2'; --by matcher"),
        ("", ["--control", "v1", "--treatment", "v1"], 2, "both 'v1'"),
    ],
)
def test_ab_refuses_a_log_that_does_not_fit(tmp_path, line, more, code, message):
    arguments = write(tmp_path, clients=10)
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    done = flipkd(*arguments, *more)
    assert done.code == code, done.err
    assert message in done.err
