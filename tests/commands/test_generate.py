"""generate: pairs with their origin from a real server, a critic that throws out what a bad one writes, the budget."""

from __future__ import annotations

import csv
import json
import re

import pytest
from chat_server import chat_server
from command_line import flipkd, given
from tiny import ENDINGS, SENTENCES

from flipkd.data.pairs import read_pairs


def text_of(prompt):
    return json.loads(re.search(r"Text: (\".*\")", prompt)[1])


def good(prompt):
    """Write what is asked for: the same sentence with another ending, or another sentence."""
    text = text_of(prompt)
    same = next(sentence for sentence in SENTENCES if text.startswith(sentence))
    if "look similar" in prompt:
        return json.dumps([f"{s} {text.rsplit(' ', 1)[1]}" for s in SENTENCES if s != same][:2])
    return json.dumps([f"{same} {ending}" for ending in ENDINGS if not text.endswith(ending)][:2])


def bad(prompt):
    """Write other sentences where the same is asked for, and the same where another one is."""
    wrong = "look similar" if "look similar" not in prompt else "mean exactly"
    return good(f"{wrong} {prompt.replace('look similar', '').replace('mean exactly', '')}")


@pytest.fixture(scope="module")
def scores(tmp_path_factory, encoders, pair_files):
    """A teacher fine-tuned for so long that it is a good critic of the sentences."""
    folder = tmp_path_factory.mktemp("critic") / "teacher"
    words = ("--teacher_name_or_path", encoders / "bi", "--num_train_epochs", 40, "--learning_rate", 0.02)
    words += ("--fine_tune", "true")
    done = flipkd("teach", *given(pair_files), *words, "--output_dir", folder)
    assert done.code == 0, done.err
    return str(folder)


def run(server, seeds, tmp_path, *words, output="out.csv"):
    return flipkd("generate", seeds, "--base_url", server.url, "--model", "m", "--output", tmp_path / output, *words)


def rows_of(path):
    with open(path, encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def by_teacher(scores, pair_files):
    return ("--teacher", scores, "--validation_file", pair_files["validation"])


@pytest.mark.slow
def test_generate_pairs_have_a_label_an_origin_and_the_critics_probability(scores, pair_files, seeds, tmp_path):
    with chat_server(good) as server:
        done = run(server, seeds, tmp_path, *by_teacher(scores, pair_files), "--json")
    assert done.code == 0, done.err
    rows, counts = rows_of(tmp_path / "out.csv"), json.loads(done.out)
    assert counts["pairs"] == len(rows) == 32 - counts["dropped"]["critic"] - counts["dropped"].get("repeated", 0)
    assert {(row["label"], row["origin"]) for row in rows} == {("1", "paraphrase:m"), ("0", "contrast:m")}
    assert all(float(row["critic"]) >= 0.6 if row["label"] == "1" else float(row["critic"]) <= 0.4 for row in rows)
    assert "critic: on validation it is right on" in done.err
    assert read_pairs(tmp_path / "out.csv")["label"][:] == [int(row["label"]) for row in rows]


def test_generate_drops_what_a_bad_generator_writes_before_it_reaches_the_training(
    scores, pair_files, seeds, tmp_path
):
    kept = {}
    for name, reply in (("good", good), ("bad", bad)):
        with chat_server(reply) as server:
            done = run(server, seeds, tmp_path, *by_teacher(scores, pair_files), "--json", output=f"{name}.csv")
        kept[name] = json.loads(done.out)["pairs"] if done.code == 0 else 0
    assert kept["good"] > 5 * kept["bad"]


def test_generate_with_a_generator_of_rubbish_leaves_nothing_and_says_why(seeds, tmp_path):
    with chat_server(
        lambda prompt: json.dumps([text_of(prompt)] * 2) if "exactly" in prompt else "I cannot."
    ) as server:
        done = run(server, seeds, tmp_path, "--critic", "endpoint")
    assert done.code == 3
    assert "'unreadable': 8" in done.err
    assert "'same text': 16" in done.err
    assert not (tmp_path / "out.csv").exists()


def test_generate_with_larger_max_requests_continues_and_keeps_no_near_copy_of_an_excluded_text(seeds, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text(f"text1,text2\n{SENTENCES[0]} please,z\n")
    words = ("--critic", "none", "--exclude", test, "--json", "--templates", "paraphrase", "--concurrency", 1)
    with chat_server(good) as server:
        first = run(server, seeds, tmp_path, *words, "--max_requests", 3)
        assert json.loads(first.out)["requests"] == 3
        assert "5 requests were not sent: the budget of 3 is used up" in first.err
        done = run(server, seeds, tmp_path, *words, "--max_requests", 5)
        assert "budget" not in done.err, "it was just enough"
        second = json.loads(done.out)
        assert (second["requests"], second["cached"], len(server.seen)) == (5, 3, 8)
    assert second["dropped"]["near copy"] == 1
    assert f"{SENTENCES[0]} please" not in {row["text2"] for row in rows_of(tmp_path / "out.csv")}


def test_generate_edits_need_no_server_and_are_no_matches(tmp_path):
    (tmp_path / "s.csv").write_text(
        "text\nI paid 120 euros on Monday\nplease ask Anna about it\nthen ask Bert\nhello\n"
    )
    done = flipkd("generate", tmp_path / "s.csv", "--kind", "edits", "--output", tmp_path / "e.jsonl", "--json")
    counts, rows = json.loads(done.out), list(map(json.loads, (tmp_path / "e.jsonl").read_text().splitlines()))
    assert (counts["requests"], counts["match"], counts["dropped"]["nothing to edit"]) == (0, 0, 2)
    assert {row["text2"] for row in rows if "Anna" in row["text1"]} == {"please ask Bert about it"}
    assert all(row["label"] == 0 and row["origin"] == "edits" and row["text1"] != row["text2"] for row in rows)


@pytest.mark.parametrize(
    ("kind", "reply", "columns"),
    [
        ("labels", "yes", {"text1", "text2", "label", "origin", "critic"}),
        ("rationales", "Yes.\n\nBoth ask the same.", {"text1", "text2", "label", "origin", "rationale"}),
    ],
)
def test_generate_labels_and_rationales_are_written_with_their_columns(pair_files, tmp_path, kind, reply, columns):
    with chat_server(lambda prompt: reply) as server:
        done = run(server, pair_files["test"], tmp_path, "--kind", kind)
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "out.csv")
    assert rows
    assert all(set(row) == columns and row["label"] == "1" and row["origin"] == f"{kind}:m" for row in rows)


def test_generate_writes_no_file_where_no_label_is_left(pair_files, tmp_path):
    with chat_server(lambda prompt: "perhaps") as server:
        done = run(server, pair_files["test"], tmp_path, "--kind", "labels")
    assert done.code == 3
    assert "'unreadable': 24" in done.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "the critic is the teacher, which needs --teacher; or choose --critic endpoint"),
        (("--critic", "none", "--templates", "paraphase"), 4, "did you mean 'paraphrase'?"),
        (("--critic", "none", "--kind", "relabel"), 2, "give --teacher FOLDER"),
        (
            ("--kind", "edits", "--templates", "question"),
            2,
            "--templates has no effect with kind=edits; it is for pairs",
        ),
        (("--kind", "labels", "--match_from", "0.3"), 2, "between them would have both labels"),
        (("--critic", "none", "--output", "x.txt"), 2, "name the result .csv, .jsonl or .parquet"),
        (("--critic", "none", "--base_url", "ftp://a"), 4, "give an address such as http://127.0.0.1:8080/v1"),
    ],
)
def test_generate_refuses_settings_that_do_not_fit_before_a_request(
    seeds, tmp_path, monkeypatch, words, code, message
):
    monkeypatch.chdir(tmp_path)
    done = flipkd("generate", seeds, "--base_url", "http://127.0.0.1:9/v1", "--model", "m", *words)
    assert done.code == code
    assert message in done.err
