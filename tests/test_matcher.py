"""Matcher: the same scores for any batch, order and way of loading; wrong arguments are named by their index."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_table

from flipkd.errors import ArtefactError, DataError, NumbersError, UsageError
from flipkd.files import new_folder, write_manifest
from flipkd.matcher import Matcher
from flipkd.student.contract import CONTRACT
from flipkd.student.prompt import Prompt

TABLE = make_table(24, seed=2)
PAIRS = [*zip(TABLE.left, TABLE.right, strict=True), ("pin", "fee " * 40), ("x", "y")]


@pytest.fixture(scope="module")
def matcher(trained) -> Matcher:
    return Matcher.from_pretrained(trained)


def test_from_pretrained_loads_a_run_folder_or_its_matcher_folder(matcher, trained):
    other = Matcher.from_pretrained(Path(trained) / "matcher")
    assert other.predict(PAIRS).tolist() == matcher.predict(PAIRS).tolist()
    assert other.contract == matcher.contract
    with pytest.raises(ArtefactError, match="no such folder"):
        Matcher.from_pretrained(Path(trained) / "nowhere")


@pytest.mark.scenario("B6", "N1")
def test_predict_is_independent_of_batch_size_padding_and_order(matcher):
    scores = matcher.predict(PAIRS)
    assert scores.dtype == np.float32
    assert len({round(float(score), 4) for score in scores}) > 10
    vectors = matcher.encode([left for left, _ in PAIRS])
    for size in (1, 5, 100):
        np.testing.assert_allclose(matcher.predict(PAIRS, batch_size=size), scores, atol=1e-5)
        np.testing.assert_allclose(matcher.encode([left for left, _ in PAIRS], batch_size=size), vectors, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(PAIRS))
    np.testing.assert_allclose(matcher.predict([PAIRS[i] for i in order], batch_size=3), scores[order], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.scenario("A9")
@pytest.mark.parametrize("reading", ["joint", "separate", "blocked"])
@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_saved_loaded_and_merged_matchers_score_the_same(make_student, tmp_path, family, reading):
    student, contract = make_student(family, reading=reading)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:  # B = 0 would make LoRA invisible
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    before = Matcher(student, contract)
    scores, vectors = before.predict(PAIRS), before.encode(TABLE.left)
    with new_folder(tmp_path / "m") as folder:
        student.save(folder, contract)
    loaded = Matcher.from_pretrained(tmp_path / "m")
    np.testing.assert_allclose(loaded.predict(PAIRS), scores, atol=1e-5)
    np.testing.assert_allclose(loaded.encode(TABLE.left), vectors, atol=1e-5)
    merged = Matcher.from_pretrained(tmp_path / "m", merge=True)
    sorted_scores, merged_scores = scores[np.argsort(scores)], merged.predict(PAIRS)[np.argsort(scores)]
    gaps = np.flatnonzero(np.diff(sorted_scores) > 1e-3)  # thresholds between scores that rounding cannot exchange
    for threshold in (sorted_scores[gaps] + sorted_scores[gaps + 1]) / 2:
        np.testing.assert_array_equal(sorted_scores >= threshold, merged_scores >= threshold)
    assert len(gaps) > 10
    assert not any("lora" in name for name, _ in merged.student.named_parameters())
    np.testing.assert_allclose(merged.predict(PAIRS), scores, atol=1e-4)
    np.testing.assert_allclose(merged.encode(TABLE.left), vectors, atol=1e-4)


@pytest.mark.parametrize("reading", ["joint", "separate", "blocked"])
def test_threads_may_share_a_matcher(make_student, reading):
    student, contract = make_student(reading=reading)
    shared = Matcher(student, contract.model_copy(update={"score": {"answer": 1.0, "cosine": 2.0}}))
    texts = ["my card", "where is my transfer", "a fee", "please close my account"]
    chunks = [[(a, b) for b in texts] for a in texts] * 4
    expected = [shared.predict(chunk) for chunk in chunks]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(shared.predict, chunks))
        vectors = list(threads.map(shared.encode, [texts[:2], texts] * 4))
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-5)
    assert [len(v) for v in vectors] == [2, 4] * 4


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps, lambda matcher: pickle.dumps(matcher.predict)])
def test_a_matcher_that_is_pickled_or_copied_says_what_to_send_instead(matcher, copied):
    with pytest.raises(UsageError, match=r"the path of its folder, and load it there with Matcher\.from_pretrained"):
        copied(matcher)


def test_matcher_gives_empty_results_for_empty_input(matcher):
    assert matcher.predict([]).shape == (0,)
    assert matcher.predict_proba([]).shape == (0,)
    assert matcher.decide([]) == []
    assert matcher.rank("query", []) == []
    assert matcher.encode([]).shape == (0, matcher.encode(["a"]).shape[1])


def test_encode_and_rank_name_wrong_arguments(matcher):
    for call, message in (
        (lambda: matcher.encode("one text"), "where a list of texts is needed"),
        (lambda: matcher.encode(["a", " "]), "text 1 is empty"),
        (lambda: matcher.encode(["a", float("nan")]), "text 1 is nan of type float"),
        (lambda: matcher.rank("q", "one document"), "where a list of documents is needed"),
        (lambda: matcher.rank(" ", ["a"]), "the query is empty"),
        (lambda: matcher.rank(None, ["a"]), "the query is None"),
        (lambda: matcher.rank("q", ["a", "", "b"]), "document 1 is empty"),
    ):
        with pytest.raises(DataError, match=message):
            call()
    with pytest.raises(UsageError, match="top_k is 0"):
        matcher.rank("q", ["a"], top_k=0)
    for size in (0, -1, 1.5, "8"):
        with pytest.raises(UsageError, match=f"batch_size is '?{size}"):
            matcher.predict(PAIRS, batch_size=size)


def test_rank_sorts_by_the_score_of_the_pair(matcher):
    documents = TABLE.right[:8]
    ranked = matcher.rank(TABLE.left[0], documents, return_documents=True)
    assert [row["text"] for row in ranked] == [documents[row["corpus_id"]] for row in ranked]
    assert sorted(row["corpus_id"] for row in ranked) == list(range(8))
    scores = matcher.predict([(TABLE.left[0], document) for document in documents])
    assert [row["score"] for row in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-5)
    assert matcher.rank(TABLE.left[0], documents, top_k=3) == [
        {"corpus_id": row["corpus_id"], "score": pytest.approx(row["score"], abs=1e-5)} for row in ranked[:3]
    ]
    assert len(matcher.rank(TABLE.left[0], documents, top_k=99)) == 8


@pytest.mark.scenario("N5")
def test_rank_keeps_ties_in_the_order_given(matcher):
    documents = ["my pin", "the fee", "my pin", "the fee", "my pin"]
    found = [row["corpus_id"] for row in matcher.rank("my card", documents, batch_size=1)]
    assert found in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


@pytest.mark.scenario("N2")
def test_matcher_raises_for_a_score_that_is_not_finite_and_never_decides_it(make_student):
    student, contract = make_student()
    with torch.no_grad():
        next(p for name, p in student.named_parameters() if "lora_B" in name).fill_(float("nan"))
    matcher = Matcher(student, contract)
    for call in (matcher.predict, matcher.predict_proba, matcher.decide):
        with pytest.raises(NumbersError, match="2 of 2 scores are not finite, first is pair 0"):
            call(PAIRS[:2])
    with pytest.raises(NumbersError):
        matcher.rank("a", ["b", "c"])


@pytest.mark.scenario("N2")
def test_encode_raises_for_vectors_that_are_not_finite(make_student):
    student, contract = make_student("llama", reading="separate")
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_A" in name:
                parameter.fill_(float("nan"))
    with pytest.raises(NumbersError, match="vectors are not finite, first is text 0"):
        Matcher(student, contract).encode(["pin"])


UNNORMALISED = [("\u200b".join(left), f" {right.replace(' ', chr(10))}\ufeff\r\n") for left, right in PAIRS[:6]]


def test_matcher_gives_normalised_texts_the_same_scores(with_teacher):
    matcher = Matcher.from_pretrained(with_teacher)
    assert matcher.contract.text_normalisation == 1
    assert matcher.predict(UNNORMALISED, batch_size=1).tolist() == matcher.predict(PAIRS[:6], batch_size=1).tolist()
    assert matcher.teacher_scores(UNNORMALISED).tolist() == matcher.teacher_scores(PAIRS[:6]).tolist()
    vectors = [matcher.encode([pair[0] for pair in pairs], batch_size=1) for pairs in (UNNORMALISED, PAIRS[:6])]
    np.testing.assert_array_equal(*vectors)
    ranked = [
        matcher.rank(pairs[0][0], [pair[1] for pair in pairs], batch_size=1) for pairs in (UNNORMALISED, PAIRS[:6])
    ]
    assert ranked[0] == ranked[1]


def test_matcher_of_an_older_format_does_not_normalise_texts(with_teacher, tmp_path):
    """A contract without the field comes from a version that did not normalise texts."""
    current = Matcher.from_pretrained(with_teacher)
    folder = tmp_path / "older"
    shutil.copytree(Path(with_teacher) / "matcher", folder)
    values = json.loads((folder / CONTRACT).read_text())
    del values["text_normalisation"]
    (folder / CONTRACT).write_text(json.dumps(values | {"format": 4}))
    write_manifest(folder)
    older = Matcher.from_pretrained(folder)
    assert older.predict(PAIRS[:6]).tolist() == current.predict(PAIRS[:6]).tolist()
    raw = raw_prompt(older.student.prompt)
    assert older.student.prompt.pair_rows(*map(list, zip(*UNNORMALISED, strict=True))) == raw.pair_rows(
        *map(list, zip(*UNNORMALISED, strict=True))
    )
    assert not np.allclose(older.predict(UNNORMALISED), current.predict(UNNORMALISED))
    assert pairs_seen_by_teacher(older, UNNORMALISED) == UNNORMALISED
    assert pairs_seen_by_teacher(current, UNNORMALISED) == PAIRS[:6]


def pairs_seen_by_teacher(matcher, pairs):
    """Record the pairs that reach the teacher of the matcher."""
    given: list[tuple[str, str]] = []

    def scores(left, right, **_):
        given.extend(zip(left, right, strict=True))
        return np.zeros(len(left), np.float32)

    matcher.teacher.scores = scores
    matcher.teacher_scores(pairs)
    return given


def raw_prompt(prompt):
    """Copy a prompt, without normalisation."""
    return Prompt(
        prompt.tokenizer,
        prompt.template,
        reading=prompt.reading,
        max_text_length=prompt.max_text_length,
        normalise=False,
    )
