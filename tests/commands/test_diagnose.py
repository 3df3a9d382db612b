"""diagnose: each check with a case of known result, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import flipkd
from datasets import Dataset

from flipkd.commands.diagnose import probe_folds
from flipkd.diagnostics.probes import probe_auc
from flipkd.errors import DataError


def result(*words):
    done = flipkd("diagnose", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_pairs_of_another_domain_are_told_apart(taught, pair_files, tmp_path):
    strange = tmp_path / "strange.csv"
    strange.write_text("text1,text2\n" + "".join(f"ZZ{k}##QQ{k},%%{k}&&{k * 7}~~\n" for k in range(20)))
    words = ("domain", "--teacher", taught, "--pairs", pair_files["train"], "--other_file")
    (found,) = result(*words, strange, "--output", tmp_path / "new" / "d.json")
    assert (found["known"], found["other"]) == (24, 20)
    assert found["roc_auc"] > 0.9
    assert 0 <= found["roc_auc_of_confidence"] <= 1
    assert json.loads((tmp_path / "new" / "d.json").read_text()) == {"kind": "domain", "rows": [found]}
    (same,) = result(*words, pair_files["test"])
    assert same["roc_auc"] < found["roc_auc"]


def test_the_encoder_that_a_matcher_keeps_tells_the_domains_apart(taught, with_teacher, pair_files):
    words = ("domain", "--pairs", pair_files["train"], "--other_file", pair_files["test"], "--teacher")
    [found], [own] = result(*words, with_teacher), result(*words, taught)
    assert "roc_auc_of_confidence" in found
    assert found == pytest.approx(own, abs=1e-6)


def test_aliases_and_analogies_are_read_from_files(taught, tmp_path):
    words = ("aliases", "--teacher", taught, "--texts", tmp_path / "n.csv", "--group", "thing")
    (tmp_path / "n.csv").write_text("text,thing\nmy card,1\nmy card,1\nwhere is it,2\nwhere is it,2\n")
    (found,) = result(*words)
    assert (found["aliases"], found["roc_auc"]) == (2, 1.0)
    (tmp_path / "n.csv").write_text("text,thing\nmy card,1\nmy card,1\nwhere is it,\n")
    assert "row 3, column thing: is empty" in flipkd("diagnose", *words).err, "names of nothing are no aliases"
    (tmp_path / "map.csv").write_text("text1,text2\na cat,a cat\na dog,a dog\nthe bank,the bank\n")
    (found,) = result("analogies", "--teacher", taught, "--pairs", tmp_path / "map.csv")
    assert (found["pairs"], found["accuracy"]) == (3, 1.0)


def test_layers_and_students_are_probed(trained, base_models, taught, pair_files):
    rows = result("layers", "--models", trained, "--pairs", pair_files["train"])
    assert [row["layer"] for row in rows] == [0, 1, 2]
    assert all(0 <= row["shuffled_labels"] <= 1 for row in rows)
    words = ("students", "--models", f"{base_models['llama']},{trained}", "--pairs", pair_files["train"])
    ranked = result(*words, "--teacher", taught, "--limit", 40)
    assert {row["model"] for row in ranked} == {str(base_models["llama"]), trained}
    assert ranked[0]["roc_auc"] >= ranked[1]["roc_auc"]
    assert all(0 <= row["alignment"] <= 1 for row in ranked)


def test_a_probe_knows_no_text_of_another_fold(caplog):
    # Each of 40 questions has five candidates, all with one label that is drawn by chance: nothing can be known of new questions.
    random, found = np.random.default_rng(0), []
    for _ in range(5):
        question = np.repeat(np.arange(40), 5)
        label = (random.random(40) < 0.5).astype(int)[question]
        states = random.normal(size=(40, 16))[question] + 0.1 * random.normal(size=(200, 16))
        columns = {"text1": [f"question {q}" for q in question], "text2": [f"candidate {n}" for n in range(200)]}
        folds = probe_folds(Dataset.from_dict({**columns, "label": label.tolist()}), seed=0)
        assert all(len(set(folds[question == q].tolist())) == 1 for q in range(40))
        found.append(probe_auc(states, label, folds=folds))
    assert abs(np.mean(found) - 0.5) < 0.1
    assert not caplog.text
    columns["text2"] = ["the same candidate"] * 200
    probe_folds(Dataset.from_dict({**columns, "label": label.tolist()}), seed=0)
    assert "200 of 200 pairs have a text that other folds have too" in caplog.text


def test_a_probe_needs_five_pairs_of_each_class():
    rows = {"text1": list("abcdefgh"), "text2": list("abcdefgh"), "label": [1] * 4 + [0] * 4}
    with pytest.raises(DataError, match="at least 5 matches"):
        probe_folds(Dataset.from_dict(rows), seed=0)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("domain", "--pairs", "x.csv"), 2, "diagnose domain needs --teacher"),
        (("students", "--pairs", "x.csv"), 2, "diagnose students needs --models"),
        (("layers", "--pairs", "x.csv", "--models", "a,b"), 2, "reads one model, got 2"),
        (("layers", "--texts", "x.csv"), 2, "--texts has no effect with kind=layers; it is for aliases"),
        (("colour",), 2, "domain"),
    ],
)
def test_diagnose_names_what_is_missing(words, code, message):
    done = flipkd("diagnose", *words)
    assert done.code == code
    assert message in done.err
