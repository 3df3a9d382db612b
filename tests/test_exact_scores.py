"""Exact scores: each has the same bits among any other pairs, where the batches of bfloat16 round differently."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import flipkd
from tiny import make_table, randomise

from flipkd.command_config import ServeConfig
from flipkd.commands import serve as serving
from flipkd.commands import served_models
from flipkd.files import new_folder
from flipkd.matcher import Matcher

TABLE = make_table(6, seed=2)
PAIRS = [*zip(TABLE.left, TABLE.right, strict=True), ("pin", "fee " * 40), ("x", "y"), ("my card", "fee " * 9)]


@pytest.fixture(scope="module")
def shuffles() -> list[list[int]]:
    random = np.random.default_rng(0)
    whole = [random.permutation(len(PAIRS)).tolist() for _ in range(2)]
    return [*whole, whole[0][:2], whole[0][:7], [0]]


def different(matcher: Matcher, shuffles: list[list[int]]) -> int:
    """How many scores and vectors are other ones in some batch size, order or choice of the pairs."""
    left = [text for text, _ in PAIRS]
    scores, vectors, found = matcher.predict(PAIRS), matcher.encode(left), 0
    for number, rows in enumerate(shuffles):
        size = (None, 1, 3, 32)[number % 4]
        found += (matcher.predict([PAIRS[row] for row in rows], batch_size=size) != scores[rows]).sum()
        found += (matcher.encode([left[row] for row in rows], batch_size=size) != vectors[rows]).any(axis=1).sum()
    documents = [right for _, right in PAIRS]
    whole = {row["corpus_id"]: row["score"] for row in matcher.rank("my card", documents)}
    for count in (1, 2, 3):
        found += sum(whole[row["corpus_id"]] != row["score"] for row in matcher.rank("my card", documents[:count]))
    return int(found)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "reading"), [("llama", "joint"), ("gemma3", "separate"), ("qwen2", "blocked")])
def test_exact_scores_do_not_depend_on_other_pairs(make_student, tmp_path, shuffles, family, reading):
    student, contract = make_student(family, reading=reading, dtype="bfloat16", max_text_length=64)
    scored = contract.model_copy(update={"score": {"answer": 1.0, "cosine": 2.0}, "symmetric": reading == "joint"})
    with new_folder(tmp_path / "matcher") as folder:
        randomise(student).save(folder, scored)
    assert different(Matcher.from_pretrained(tmp_path / "matcher", exact=True), shuffles) == 0
    assert different(Matcher.from_pretrained(tmp_path / "matcher"), shuffles) > 0


def test_exact_scores_with_a_kept_teacher_do_not_depend_on_other_pairs(with_teacher, shuffles):
    matcher = Matcher.from_pretrained(with_teacher, exact=True)
    matcher.contract.score["teacher"] = 3.0
    assert different(matcher, shuffles) == 0
    matcher.teacher._cache.clear()
    assert (matcher.teacher_scores(PAIRS[:3]) == matcher.teacher_scores(PAIRS)[:3]).all()
    assert matcher.teacher._models[0].batch_size == 1


def test_exact_is_an_option_of_every_command_that_scores(trained, pair_files, tmp_path, monkeypatch):
    asked, whole = [], Matcher.from_pretrained

    def loaded(folder, **settings):
        """A matcher, and a note of whether it was to be exact."""
        asked.append(settings.get("exact", False))
        return whole(folder, **settings)

    monkeypatch.setattr(Matcher, "from_pretrained", loaded)
    pairs = ["--matcher", trained, "--exact"]
    for words in (
        ("match", *pairs, "--text1", "my card", "--text2", "a fee"),
        ("match", *pairs, pair_files["validation"], "--output", tmp_path / "found.jsonl"),
        ("evaluate", *pairs, "--test_file", pair_files["validation"]),
    ):
        assert flipkd(*words).code == 0
    assert asked == [True] * 3
    assert flipkd("match", "--matcher", trained, "--text1", "my card", "--text2", "a fee").code == 0
    assert asked[3:] == [False]


def test_exact_server_encodes_each_query_alone(trained, monkeypatch):
    served = []
    monkeypatch.setattr("flipkd.serve.server.run", lambda app, models, *_, **__: served.append(models.plan.find))
    serving.serve(ServeConfig(matcher=str(trained), port=0, exact=True), listening=str)
    [find] = served[0].values()
    assert find().load().matcher.exact
    sizes = []

    def encode(texts):
        """A vector for each text."""
        sizes.append(len(texts))
        return np.ones((len(texts), 3), np.float32)

    assert served_models._one_by_one(encode)(["a", "b"]).shape == (2, 3)
    assert sizes == [1, 1]
