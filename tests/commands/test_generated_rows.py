"""Kinds of generated rows: what each writes for the replies that it gets, and what it counts as thrown out."""

from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import ENDINGS, SENTENCES

from flipkd.command_config import GenerateConfig
from flipkd.commands import generated_rows as module
from flipkd.commands.generated_rows import DEMONSTRATIONS, KINDS, fused
from flipkd.generate.prompts import JUDGEMENTS


class Replies:
    """Stand-in for the endpoint: `reply(prompt)` makes each reply; the prompts are kept in `seen`."""

    def __init__(self, reply) -> None:
        self.reply, self.seen = reply, []

    def replies(self, asked, *, label):
        prompts = [messages[0]["content"] for messages in asked]
        self.seen += prompts
        return [self.reply(prompt) for prompt in prompts]


def made(kind, seeds, reply=None, **changes):
    config = GenerateConfig.check({"seeds": str(seeds), "kind": kind, "model": "m", "seed": 0} | changes)
    found = KINDS[kind](config, Replies(reply))
    return found.rows, dict(+found.dropped)


def text_of(prompt):
    return json.loads(re.search(r"Text: (\".*\")", prompt)[1])


def texts_of(prompt):
    """The pairs of a prompt: its examples, and last the one that it is about."""
    return re.findall(r"Text 1: (\".*\")\nText 2: (\".*\")", prompt)


@pytest.fixture
def teacher(monkeypatch):
    """A teacher whose unit vectors count the words of a text, so that sentences with the same words are near."""

    def vectors(texts):
        words = sorted({word for text in [*SENTENCES, *ENDINGS] for word in text.split()})
        counts = np.array([[text.split().count(word) for word in words] for text in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)

    monkeypatch.setattr(module, "vector_teacher", lambda folder: SimpleNamespace(vectors=vectors))
    return "t"


def test_kind_pairs_has_a_row_for_each_text_of_a_reply_up_to_count(seeds):
    rows, dropped = made("pairs", seeds, lambda p: json.dumps([f" {text_of(p)}  again", "b", "c"]), count=2)
    assert len(rows) == 2 * 2 * len(SENTENCES)
    assert rows[0] == {
        "text1": f"{SENTENCES[0]} now",
        "text2": f"{SENTENCES[0]} now again",
        "label": 1,
        "origin": "paraphrase:m",
    }
    assert {(row["label"], row["origin"]) for row in rows} == {(1, "paraphrase:m"), (0, "contrast:m")}
    assert dropped == {}


def test_kind_pairs_counts_an_unreadable_reply_but_none_that_was_not_sent(seeds):
    replies = iter(["I cannot.", None, *['["x"]'] * 14])
    rows, dropped = made("pairs", seeds, lambda _: next(replies))
    assert (len(rows), dropped) == (14, {"unreadable": 1})


def test_kind_edits_counts_texts_with_nothing_to_edit(tmp_path):
    (tmp_path / "s.csv").write_text("text\nplease ask Anna about it\nthen ask Bert\nhello\n")
    rows, dropped = made("edits", tmp_path / "s.csv", count=2)
    assert {(row["text1"], row["text2"]) for row in rows} == {
        ("please ask Anna about it", "please ask Bert about it"),
        ("then ask Bert", "then ask Anna"),
    }
    assert {(row["label"], row["origin"]) for row in rows} == {(0, "edits")}
    assert dropped == {"nothing to edit": 2}


def relabelled(prompt):
    """Write a query with the words of the seed; rate the text of the same sentence 10 and all others 1."""
    if "Write 1 questions" in prompt:
        return json.dumps([text_of(prompt).removesuffix(" now") + " again"])
    query = json.loads(re.search(r"Query: (\".*\")", prompt)[1])
    return "10" if text_of(prompt).removesuffix(" now") == query.removesuffix(" again") else "1"


def test_kind_relabel_pairs_a_query_with_the_text_that_is_rated_best_and_a_bad_one(teacher, seeds, caplog):
    rows, dropped = made("relabel", seeds, relabelled, teacher=teacher, candidates=8)
    assert [row["label"] for row in rows] == [1, 0] * 8
    assert {row["origin"] for row in rows} == {"relabel:m"}
    for match, other in zip(rows[::2], rows[1::2], strict=True):
        assert match["text1"] == other["text1"] == match["text2"].removesuffix(" now") + " again"
        assert other["text2"] != match["text2"]
    assert "another text than the seed is the best for 0 of 8 queries" in caplog.text
    assert dropped == {}


def test_kind_relabel_moves_a_query_to_a_text_that_is_rated_better_than_its_seed(teacher, tmp_path, caplog):
    (tmp_path / "s.csv").write_text("text\nwhere is my transfer\nwhere is my card\nplease close my account\n")

    def reply(prompt):
        if "Write 1 questions" in prompt:
            return '["where is my card again"]' if "transfer" in prompt else "I cannot."
        return "9" if text_of(prompt) == "where is my card" else "1"

    rows, dropped = made("relabel", tmp_path / "s.csv", reply, teacher=teacher, candidates=3)
    found = {row["label"]: row["text2"] for row in rows}
    assert found == {1: "where is my card", 0: "please close my account"}
    assert "for 1 of 1 queries" in caplog.text
    assert dropped == {"unreadable": 2}


def test_kind_relabel_leaves_out_a_query_without_all_ratings(teacher, seeds):
    lost = f"{SENTENCES[0]} again"

    def reply(prompt, rating):
        return rating if "Query:" in prompt and lost in prompt else relabelled(prompt)

    rows, dropped = made("relabel", seeds, lambda p: reply(p, "good"), teacher=teacher)
    assert (len(rows), dropped) == (14, {"unreadable": 1})
    rows, dropped = made("relabel", seeds, lambda p: reply(p, None), teacher=teacher)
    assert (len(rows), dropped) == (14, {}), "a rating that was not sent is not unreadable"


def test_kind_relabel_without_a_query_has_no_rows(teacher, seeds):
    assert made("relabel", seeds, lambda _: "I cannot.", teacher=teacher) == ([], {"unreadable": 8})
    assert made("relabel", seeds, lambda _: None, teacher=teacher) == ([], {}), "no request was sent"


def test_kind_relabel_with_one_candidate_has_no_bad_text(teacher, seeds):
    rows, _ = made("relabel", seeds, relabelled, teacher=teacher, candidates=1)
    assert [row["label"] for row in rows] == [1] * 8


def test_fused_adds_reciprocal_ranks():
    assert fused(np.array([1.0, 9.0, 5.0])).tolist() == pytest.approx([1 + 1 / 3, 1 / 2 + 1, 1 / 3 + 1 / 2])


def test_kind_labels_shows_examples_that_share_no_text_with_the_pair(teacher, pair_files):
    endpoint = Replies(lambda prompt: "yes" if texts_of(prompt)[-1][0].count("card") else "no")
    settings = {"seeds": pair_files["test"], "kind": "labels", "model": "m", "teacher": teacher}
    config = GenerateConfig.check(settings | {"demonstrations": pair_files["train"]})
    rows = KINDS["labels"](config, endpoint).rows
    assert len(rows) == 24
    assert all(row["label"] == ("card" in row["text1"]) for row in rows)
    assert {row["critic"] for row in rows} == {0.0, 1.0}
    with open(pair_files["train"], encoding="utf-8") as handle:
        known = {(row["text1"], row["text2"]): row["label"] for row in csv.DictReader(handle)}
    for prompt in endpoint.seen:
        *examples, asked = texts_of(prompt)
        assert len(examples) == DEMONSTRATIONS
        assert not {text for pair in examples for text in pair} & {*asked}
        assert [known[tuple(map(json.loads, pair))] for pair in examples] == ["1", "0"] * 2
        assert prompt.count("Answer: yes") == prompt.count("Answer: no") == 2


def test_kind_labels_leaves_out_pairs_without_a_clear_answer_to_all_questions(tmp_path):
    (tmp_path / "s.csv").write_text("text1,text2\n" + "".join(f"a,{name}\n" for name in "bcdef"))
    replies = {
        "b": ["yes", "yes", "yes"],
        "c": ["no", "no", "no"],
        "d": ["yes", "yes", "no"],
        "e": ["yes", "yes", "perhaps"],
        "f": ["yes", "yes", None],
    }

    def reply(prompt):
        question = next(n for n, judgement in enumerate(JUDGEMENTS) if judgement in prompt)
        return replies[json.loads(texts_of(prompt)[-1][1])][question]

    rows, dropped = made("labels", tmp_path / "s.csv", reply, match_from=0.7, mismatch_up_to=0.3)
    assert [(row["text2"], row["label"], row["critic"]) for row in rows] == [("b", 1, 1.0), ("c", 0, 0.0)]
    assert dropped == {"undecided": 1, "unreadable": 1}


@pytest.mark.parametrize(("bounds", "expected"), [((0.3, 0.2), [1, 1, 0]), ((0.9, 0.7), [1, 0, 0])])
def test_kind_labels_follows_the_bounds_also_beyond_one_half(tmp_path, bounds, expected):
    (tmp_path / "s.csv").write_text("text1,text2\n" + "".join(f"a,{name}\n" for name in "bcd"))
    yes = {"b": 3, "c": 1 if bounds[0] < 0.5 else 2, "d": 0}

    def reply(prompt):
        question = next(n for n, judgement in enumerate(JUDGEMENTS) if judgement in prompt)
        return "yes" if question < yes[json.loads(texts_of(prompt)[-1][1])] else "no"

    rows, _ = made("labels", tmp_path / "s.csv", reply, match_from=bounds[0], mismatch_up_to=bounds[1])
    assert [row["label"] for row in rows] == expected


def test_kind_rationales_keeps_a_reason_only_if_its_answer_is_the_label(pair_files):
    rows, dropped = made("rationales", pair_files["train"], lambda _: "Both are about this.\nyes")
    assert {(row["label"], row["rationale"], row["origin"]) for row in rows} == {
        (1, "Both are about this.", "rationales:m")
    }
    assert 0 < len(rows) < 48
    assert dropped == {"wrong answer": 48 - len(rows)}


def test_kind_rationales_counts_unreadable_replies_but_none_that_was_not_sent(tmp_path):
    (tmp_path / "s.csv").write_text("text1,text2,label\na,b,1\nc,d,0\ne,f,1\ng,h,0\n")
    replies = iter(["perhaps", None, "They are alike.\nAnswer: yes", None])
    rows, dropped = made("rationales", tmp_path / "s.csv", lambda _: next(replies))
    assert [(row["text1"], row["rationale"]) for row in rows] == [("e", "They are alike.")]
    assert dropped == {"unreadable": 1}
