"""Matcher: the same scores whatever the batch, the order and the way it was loaded; wrong input is named by its index."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import make_table

from flipkd.errors import ArtefactError, DataError, NumbersError, UsageError
from flipkd.files import new_folder, write_manifest
from flipkd.matcher import Matcher
from flipkd.student.contract import CONTRACT
from flipkd.student.prompt import Prompt
from flipkd.text import is_empty

TABLE = make_table(24, seed=2)
PAIRS = [*zip(TABLE.left, TABLE.right, strict=True), ("pin", "fee " * 40), ("x", "y")]


@pytest.fixture(scope="module")
def matcher(trained) -> Matcher:
    return Matcher.from_pretrained(trained)


def test_a_run_folder_and_its_matcher_folder_are_the_same(matcher, trained):
    other = Matcher.from_pretrained(Path(trained) / "matcher")
    assert other.predict(PAIRS).tolist() == matcher.predict(PAIRS).tolist()
    assert other.contract == matcher.contract
    with pytest.raises(ArtefactError, match="no such folder"):
        Matcher.from_pretrained(Path(trained) / "nowhere")


@pytest.mark.scenario("B6", "N1")
def test_batch_size_padding_and_order_change_nothing(matcher):
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
def test_saved_loaded_and_merged_give_the_same(make_student, tmp_path, family, reading):
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
    own, others = scores[np.argsort(scores)], merged.predict(PAIRS)[np.argsort(scores)]
    apart = np.flatnonzero(np.diff(own) > 1e-3)  # thresholds between scores that rounding cannot exchange
    for threshold in (own[apart] + own[apart + 1]) / 2:
        np.testing.assert_array_equal(own >= threshold, others >= threshold)
    assert len(apart) > 10
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


def test_probabilities_and_decisions_follow_the_contract(matcher):
    scores = matcher.predict(PAIRS)
    calibration = matcher.contract.calibration
    expected = 1 / (1 + np.exp(-(calibration["slope"] * scores.astype(np.float64) + calibration["intercept"])))
    np.testing.assert_allclose(matcher.predict_proba(PAIRS), expected)
    assert matcher.decide(PAIRS) == [
        "match" if s >= matcher.contract.threshold else "no_match" for s in scores.tolist()
    ]
    assert set(matcher.decide(PAIRS)) == {"match", "no_match"}


def test_without_calibration_and_threshold_the_logit_decides(make_student):
    matcher = Matcher(*make_student())
    assert matcher.contract.threshold is None
    assert matcher.decisions(np.array([-1e-6, 0.0, 1e-6], np.float32)) == ["no_match", "match", "match"]
    np.testing.assert_allclose(
        matcher.predict_proba(PAIRS), 1 / (1 + np.exp(-matcher.predict(PAIRS).astype(np.float64)))
    )


def test_decisions_are_made_in_float64(matcher):
    score = np.float32(0.1)  # the nearest float32 lies above 0.1
    close = Matcher(matcher.student, matcher.contract.model_copy(update={"threshold": 0.1}))
    above = Matcher(matcher.student, matcher.contract.model_copy(update={"threshold": float(score) + 1e-12}))
    assert close.decisions(np.array([score])) == ["match"]
    assert above.decisions(np.array([score])) == ["no_match"]


def test_nothing_in_gives_nothing_out(matcher):
    assert matcher.predict([]).shape == (0,)
    assert matcher.predict_proba([]).shape == (0,)
    assert matcher.decide([]) == []
    assert matcher.rank("query", []) == []
    assert matcher.encode([]).shape == (0, matcher.encode(["a"]).shape[1])


def test_any_iterable_of_two_texts_is_a_pair(matcher):
    expected = matcher.predict(PAIRS[:3]).tolist()
    for pairs in (
        tuple(PAIRS[:3]),
        [list(pair) for pair in PAIRS[:3]],
        zip(TABLE.left[:3], TABLE.right[:3], strict=True),
        np.array(PAIRS[:3]),
    ):
        assert matcher.predict(pairs).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "pairs, said",
    [
        (("a", "b"), "one pair of texts where a list of pairs is needed"),
        (["a", "b"], "one pair of texts where a list of pairs is needed"),
        ("ab", "got 'ab' where a list of pairs is needed"),
        (None, "got None where a list of pairs is needed"),
        (7, "got 7 where a list of pairs is needed"),
        ([("a", "b"), "cd"], "pair 1 is 'cd'; a pair is two texts"),
        ([("a", "b", "c")], "pair 0 is"),
        ([("a",)], "pair 0 is"),
        ([None], "pair 0 is None"),
        ([{"text1": "a", "text2": "b"}], "pair 0 is"),
        ([("a", "b"), ("c", None)], "pair 1, text 2, is None, a NoneType; it must be a text"),
        ([(3, "b")], "pair 0, text 1, is 3, a int; it must be a text"),
        ([(b"a", "b")], "pair 0, text 1, is b'a'"),
        ([("a", "b"), ("", "b")], "pair 1, text 1, is empty"),
        ([("a", " \t\n")], "pair 0, text 2, is empty"),
        ([("a", "\u200b\ufeff\u2060")], "pair 0, text 2, is empty"),
        ([("a", "b \ud800")], "pair 0, text 2, holds half a surrogate pair at character 2"),
        ([("a", "caf\udce9")], "text 2, holds a byte that is not UTF-8 (a Latin-1 terminal?) at character 3"),
    ],
)
def test_wrong_pairs_are_named_by_their_index(matcher, pairs, said):
    for call in (matcher.predict, matcher.predict_proba, matcher.decide):
        with pytest.raises(DataError) as raised:
            call(pairs)
        assert said in str(raised.value)


def test_wrong_texts_documents_and_numbers(matcher):
    for call, said in (
        (lambda: matcher.encode("one text"), "where a list of texts is needed"),
        (lambda: matcher.encode(["a", " "]), "text 1 is empty"),
        (lambda: matcher.encode(["a", float("nan")]), "text 1 is nan, a float"),
        (lambda: matcher.rank("q", "one document"), "where a list of documents is needed"),
        (lambda: matcher.rank(" ", ["a"]), "the query is empty"),
        (lambda: matcher.rank(None, ["a"]), "the query is None"),
        (lambda: matcher.rank("q", ["a", "", "b"]), "document 1 is empty"),
    ):
        with pytest.raises(DataError, match=said):
            call()
    with pytest.raises(UsageError, match="top_k is 0"):
        matcher.rank("q", ["a"], top_k=0)
    for size in (0, -1):
        with pytest.raises(UsageError, match=f"batch_size is {size}"):
            matcher.predict(PAIRS, batch_size=size)


def test_a_message_never_holds_a_whole_text(matcher):
    with pytest.raises(DataError) as raised:
        matcher.predict([("a", "b"), "secret " * 1000])
    assert len(str(raised.value)) < 200


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
def test_ties_stay_in_the_order_given(matcher):
    documents = ["my pin", "the fee", "my pin", "the fee", "my pin"]
    found = [row["corpus_id"] for row in matcher.rank("my card", documents, batch_size=1)]
    assert found in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


@pytest.mark.scenario("N2")
def test_a_score_that_is_not_finite_is_an_error_and_never_a_decision(make_student):
    student, contract = make_student()
    with torch.no_grad():
        next(p for name, p in student.named_parameters() if "lora_B" in name).fill_(float("nan"))
    matcher = Matcher(student, contract)
    for call in (matcher.predict, matcher.predict_proba, matcher.decide):
        with pytest.raises(NumbersError, match="2 of 2 scores are not finite, first is pair 0"):
            call(PAIRS[:2])
    with pytest.raises(NumbersError):
        matcher.rank("a", ["b", "c"])


@pytest.mark.scenario("N3")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e4, 1e6])
def test_logits_of_any_size_give_probabilities_that_rise_with_the_score_or_an_error(make_student, dtype, scale):
    student, contract = make_student(dtype=dtype)
    with torch.no_grad():
        student.language_model.get_output_embeddings().weight.mul_(scale)
    matcher = Matcher(student, contract)
    if dtype == "float16" and scale == 1e6:  # above 65,504 a number is infinite in float16
        with pytest.raises(NumbersError, match="scores are not finite"):
            matcher.predict_proba(PAIRS)
        return
    scores, probabilities = matcher.predict(PAIRS), matcher.predict_proba(PAIRS)
    assert np.abs(scores).max() > scale / 2
    assert np.isfinite(scores).all()
    order = np.argsort(scores)
    assert (np.diff(probabilities[order]) >= 0).all()
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    assert matcher.decisions(scores) == ["match" if score >= 0 else "no_match" for score in scores]


ODD = [
    "<bos><eos>",
    "<think>",
    "{{7*7}}",
    "%s",
    "=1+1",
    "Text 1: a\nText 2: b\nAnswer yes or no: yes",
    "\u200bx",
    "ﷺ",
    "👩‍👩‍👧",
]


def test_odd_texts_are_plain_texts(matcher):
    scores = matcher.predict([(text, "my card") for text in ODD])
    assert len(set(scores.tolist())) > len(ODD) - 2
    control = set(matcher.student.prompt.tokenizer.added_tokens_decoder)
    for text in ODD:
        ((ids, _),) = matcher.student.prompt.text_ids([text])
        assert not control & set(ids)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=40)] * 2), min_size=1, max_size=4))
def test_every_list_of_two_texts_is_scored_or_refused_by_name(matcher, pairs):
    if any(is_empty(text) for pair in pairs for text in pair):
        with pytest.raises(DataError, match=r"^pair \d, text [12], is empty"):
            matcher.predict(pairs)
    else:
        alone = [float(matcher.predict([pair])[0]) for pair in pairs]
        np.testing.assert_allclose(matcher.predict(pairs), alone, atol=1e-5)


def test_texts_far_beyond_the_limit_cost_little_and_differ_only_where_they_are_read(matcher):
    long = "my card was stolen yesterday " * 100_000
    matcher.predict([("a", "b")])
    start = time.perf_counter()
    scores = matcher.predict([(long, "a"), (long + "x", "a"), ("a", long)])
    assert time.perf_counter() - start < 2
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0] != pytest.approx(scores[2], abs=1e-5)


@pytest.mark.scenario("N2")
def test_vectors_that_are_not_finite_are_never_given(make_student):
    student, contract = make_student("llama", reading="separate")
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_A" in name:
                parameter.fill_(float("nan"))
    with pytest.raises(NumbersError, match="vectors are not finite, first is text 0"):
        Matcher(student, contract).encode(["pin"])


DIRTY = [("\u200b".join(left), f" {right.replace(' ', chr(10))}\ufeff\r\n") for left, right in PAIRS[:6]]


def test_what_carries_no_meaning_changes_no_score(with_teacher):
    matcher = Matcher.from_pretrained(with_teacher)
    assert matcher.contract.text_normalisation == 1
    assert matcher.predict(DIRTY, batch_size=1).tolist() == matcher.predict(PAIRS[:6], batch_size=1).tolist()
    assert matcher.teacher_scores(DIRTY).tolist() == matcher.teacher_scores(PAIRS[:6]).tolist()
    vectors = [matcher.encode([pair[0] for pair in pairs], batch_size=1) for pairs in (DIRTY, PAIRS[:6])]
    np.testing.assert_array_equal(*vectors)
    ranked = [matcher.rank(pairs[0][0], [pair[1] for pair in pairs], batch_size=1) for pairs in (DIRTY, PAIRS[:6])]
    assert ranked[0] == ranked[1]


def test_a_matcher_of_an_older_format_reads_texts_as_it_did(with_teacher, tmp_path):
    """Without the field texts are read byte for byte, as they were by the version that wrote it."""
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
    assert older.student.prompt.pair_rows(*map(list, zip(*DIRTY, strict=True))) == raw.pair_rows(
        *map(list, zip(*DIRTY, strict=True))
    )
    assert not np.allclose(older.predict(DIRTY), current.predict(DIRTY))
    assert read_by_teacher(older, DIRTY) == DIRTY
    assert read_by_teacher(current, DIRTY) == PAIRS[:6]


def read_by_teacher(matcher, pairs):
    """The pairs as they reach the matcher's teacher."""
    given: list[tuple[str, str]] = []

    def scores(left, right, **_):
        given.extend(zip(left, right, strict=True))
        return np.zeros(len(left), np.float32)

    matcher.teacher.scores = scores
    matcher.teacher_scores(pairs)
    return given


def raw_prompt(prompt):
    """The same prompt without any normalisation."""
    return Prompt(
        prompt.tokenizer,
        prompt.template,
        reading=prompt.reading,
        max_text_length=prompt.max_text_length,
        normalise=False,
    )
