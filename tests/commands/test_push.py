"""push: a matcher goes to the hub by a command, and each command that takes a matcher takes it from there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import flipkd
from hub_server import hub_with

from flipkd.command_config import ServeConfig
from flipkd.commands.serve import serve
from flipkd.matcher import Matcher
from flipkd.publishing import push_matcher

NAME, BASE = "flip/bank-matcher", "org/llm"


@pytest.fixture
def hub(monkeypatch, tmp_path, base_models):
    """A server with the base model, used by huggingface_hub with a token."""
    with hub_with(monkeypatch, tmp_path / "cache", **{BASE: base_models["llama"]}) as server:
        yield server


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(Path(trained) / "matcher", tmp_path / "matcher"))


@pytest.mark.slow
def test_flipkd_push_and_the_commands_that_take_a_matcher_of_the_hub(hub, folder, pair_files, tmp_path):
    done = flipkd(
        "push", "--matcher", folder, "--repo_id", NAME, "--base_model", BASE, "--license", "mit", "--private"
    )
    assert (done.code, done.out.startswith(f"{hub.url}/{NAME}/commit/")) == (0, True), done.err
    assert hub.repositories[NAME].private
    done = flipkd("evaluate", "--matcher", folder, "--test_file", pair_files["test"], "--json")
    for name in (NAME, f"{NAME}@main"):
        again = flipkd("evaluate", "--matcher", name, "--test_file", pair_files["test"], "--json")
        assert (again.code, again.out) == (0, done.out), again.err
        assert f"{NAME}: revision {hub.repositories[NAME].branches['main']} of the hub" in again.err
    pair = ("--text1", "my card", "--text2", "a fee", "--json")
    assert flipkd("match", "--matcher", NAME, *pair).out == flipkd("match", "--matcher", folder, *pair).out
    done = flipkd(
        *("calibrate", "--matcher", NAME, "--validation_file", pair_files["validation"]),
        *("--output_dir", tmp_path / "calibrated"),
    )
    assert done.code == 0, done.err
    assert Matcher.from_pretrained(tmp_path / "calibrated").contract.base_model_name_or_path == BASE
    done = flipkd("evaluate", "--matcher", NAME, "--test_file", pair_files["test"], "--card")
    assert (done.code, "--card writes into a local matcher folder" in done.err) == (2, True)
    done = flipkd("push", "--matcher", tmp_path / "none", "--repo_id", NAME)
    assert (done.code, "no such folder" in done.err) == (4, True)


def test_serve_names_a_matcher_of_the_hub_by_its_repository(hub, folder, monkeypatch):
    push_matcher(folder, NAME, base_model=BASE)
    served = []
    monkeypatch.setattr("flipkd.serve.server.run", lambda app, models, *_, **__: served.append(models.plan.find))
    serve(ServeConfig(matcher=f"{NAME}@main", port=0), listening=str)
    [(name, find)] = served[0].items()
    assert (name, len(find().version)) == (NAME, 12)
    pair = [("my card", "a fee")]
    assert find().load().matcher.predict(pair).tolist() == Matcher.from_pretrained(folder).predict(pair).tolist()
