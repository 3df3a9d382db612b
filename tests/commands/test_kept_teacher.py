"""A matcher that keeps its teacher: training, every command, damaged folders."""

from __future__ import annotations

import asyncio
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import flipkd, given, student

import flipkd.matcher as flipkd_matcher
import flipkd.pair_scorer as flipkd_pair_scorer
import flipkd.teachers.teacher as flipkd_teacher
from flipkd import Matcher
from flipkd.data.pairs import read_pairs
from flipkd.errors import ArtefactError, ConfigError
from flipkd.evaluate import weighted_sum
from flipkd.files import new_folder, write_manifest
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.service import Service
from flipkd.student.contract import read_contract
from flipkd.student.scoring import score_pairs
from flipkd.teachers import kept_teacher
from flipkd.teachers.stored_teacher import StoredTeacher


def texts_in(path):
    dataset = read_pairs(path)
    return dataset["text1"][:], dataset["text2"][:]


def test_matcher_with_teacher_scores_as_in_training(with_teacher, pair_files, taught):
    matcher = Matcher.from_pretrained(with_teacher)
    stored = StoredTeacher(taught)
    assert matcher.contract.teacher.fingerprint == stored.fingerprint
    left, right = texts_in(pair_files["test"])
    found = score_pairs(matcher.student, left, right, return_embeddings=True).kinds
    found["teacher"] = stored.signal(read_pairs(pair_files["test"])).pair_scores()
    assert "teacher" in matcher.contract.score
    pairs = list(zip(left, right, strict=True))
    expected = weighted_sum(found, matcher.contract.score)
    np.testing.assert_allclose(matcher.predict(pairs), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(matcher.teacher_scores(pairs), found["teacher"], atol=1e-5)
    merged = Matcher.from_pretrained(with_teacher, merge=True)
    np.testing.assert_allclose(merged.predict(pairs), expected, rtol=1e-3, atol=1e-3)
    ranked = matcher.rank(left[0], right[:5])
    alone = matcher.predict([(left[0], text) for text in right[:5]])
    assert ranked[0]["score"] == pytest.approx(alone.max(), rel=1e-5)
    card = (Path(with_teacher) / "matcher" / "README.md").read_text()
    assert "from a small encoder that knows the domain (made from bi, fine-tuned)" in " ".join(card.split())
    assert "teacher = the cosine of the small encoder in `teacher/`" in card
    assert "fine-tuned (licence: not known" in card


def test_match_evaluate_and_calibrate_use_the_kept_teacher(with_teacher, pair_files, tmp_path):
    pairs = list(zip(*texts_in(pair_files["test"]), strict=True))
    scores = Matcher.from_pretrained(with_teacher).predict(pairs)
    rows = flipkd("match", "--matcher", with_teacher, pair_files["test"]).out.splitlines()
    assert [json.loads(row)["score"] for row in rows] == pytest.approx(scores.tolist(), abs=1e-6)
    done = flipkd("evaluate", "--matcher", with_teacher, "--test_file", pair_files["test"], "--json")
    assert json.loads(done.out)["n"] == 24
    arguments = ("calibrate", "--matcher", with_teacher, "--validation_file", pair_files["validation"], "--symmetric")
    assert flipkd(*arguments, "--output_dir", tmp_path / "both").code == 0
    both = Matcher.from_pretrained(tmp_path / "both")
    one = Matcher.from_pretrained(with_teacher)
    swapped = [(b, a) for a, b in pairs]
    mean = (one.predict(pairs).astype(np.float64) + one.predict(swapped)) / 2
    np.testing.assert_allclose(both.predict(pairs), mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(both.predict(swapped), both.predict(pairs), rtol=1e-4, atol=1e-4)


def test_search_scores_with_the_kept_teacher(with_teacher, taught, tmp_path):
    (tmp_path / "faq.csv").write_text("text\nmy card\nwhere is my transfer\na fee\n")
    made = flipkd("index", tmp_path / "faq.csv", "--encoder", taught, "--output_dir", tmp_path / "index")
    assert made.code == 0, made.err
    done = flipkd("search", "lost my card", "--matcher", with_teacher, "--index", tmp_path / "index")
    assert done.code == 0, done.err
    rows = [json.loads(row) for row in done.out.splitlines()]
    matcher = Matcher.from_pretrained(with_teacher)
    expected = matcher.predict([("lost my card", row["text"]) for row in rows])
    assert [row["score"] for row in rows] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-4)
    similar = matcher.teacher_scores([("lost my card", row["text"]) for row in rows])
    assert [row["similarity"] for row in rows] == pytest.approx(similar.tolist(), abs=1e-5)


def test_service_scores_with_the_kept_teacher(with_teacher, pair_files):
    matcher = Matcher.from_pretrained(with_teacher)
    pairs = list(zip(*texts_in(pair_files["test"]), strict=True))

    async def requested():
        service = Service(lambda: Loaded(matcher), limits=Limits(), name="m")
        await service.start()
        while service.state == "loading":
            await asyncio.sleep(0.01)
        found = await asyncio.gather(*(service.match([pair], until=service.deadline()) for pair in pairs))
        await service.stop()
        return [match.score for [match] in found]

    assert asyncio.run(requested()) == pytest.approx(matcher.predict(pairs).tolist(), rel=1e-4, abs=1e-4)


def train(pair_files, base_models, output_dir, *arguments, **settings):
    return flipkd(
        *("train", *given(pair_files), *student(base_models["llama"], num_train_epochs=1, **settings)),
        *(*arguments, "--output_dir", output_dir),
    )


@pytest.mark.slow
def test_keep_teacher_auto_keeps_a_better_sum_and_logs_the_gain(
    base_models, pair_files, taught, with_teacher, tmp_path
):
    done = train(pair_files, base_models, tmp_path / "auto", "--teacher", taught)
    assert done.code == 0, done.err
    [line] = [line for line in done.err.splitlines() if line.startswith("score: ")]
    contract = read_contract(tmp_path / "auto" / "matcher")
    assert line.startswith(f"score: {' + '.join(contract.score)}, average precision ")
    assert "\n  the teacher alone: 0." in done.err
    kept = contract.teacher is not None
    assert kept == ("teacher" in contract.score) == (" and 0.0 million parameters" in done.err)
    assert kept == (tmp_path / "auto" / "matcher" / "teacher" / "model.safetensors").exists()
    done = train(pair_files, base_models, tmp_path / "none", "--teacher", taught, keep_teacher="false")
    assert done.code == 0, done.err
    assert "teacher alone" not in done.err
    assert "teacher" not in read_contract(tmp_path / "none" / "matcher").score
    assert not (tmp_path / "none" / "matcher" / "teacher").exists()


@pytest.mark.slow
def test_keep_teacher_of_a_cross_encoder_uses_its_logit(base_models, pair_files, encoders, tmp_path):
    arguments = ("--teacher_name_or_path", encoders / "cross", "--set", "teacher_type=cross_encoder")
    assert flipkd("teach", *given(pair_files), *arguments, "--output_dir", tmp_path / "t").code == 0
    more = ("--teacher", tmp_path / "t", "--set", "objectives.in_batch_kl=0")
    done = train(pair_files, base_models, tmp_path / "run", *more, keep_teacher="true")
    assert done.code == 0, done.err
    matcher = Matcher.from_pretrained(tmp_path / "run")
    pairs = list(zip(*texts_in(pair_files["test"]), strict=True))
    stored = StoredTeacher(tmp_path / "t").signal(read_pairs(pair_files["test"])).pair_scores()
    np.testing.assert_allclose(matcher.teacher_scores(pairs), stored, atol=1e-5)
    assert matcher.contract.teacher.kind == "cross_encoder"


def test_keep_teacher_rejects_given_scores(base_models, pair_files, tmp_path):
    arguments = ("--set", "teacher_type=scores", "--output_dir", tmp_path / "t")
    assert flipkd("teach", *given(pair_files), *arguments).code == 0
    more = ("--teacher", tmp_path / "t", "--set", "objectives.in_batch_kl=0")
    done = train(pair_files, base_models, tmp_path / "auto", *more)
    assert done.code == 0, done.err
    assert done.err.count("cannot keep its teacher, which is a column of scores") == 1
    assert read_contract(tmp_path / "auto" / "matcher").teacher is None
    done = train(pair_files, base_models, tmp_path / "true", *more, keep_teacher="true")
    assert (done.code, "has given scores and no model" in done.err) == (4, True), done.err
    assert not (tmp_path / "true").exists()
    done = train(pair_files, base_models, tmp_path / "true", "--teacher", tmp_path / "t", *RESIDUAL)
    assert (done.code, "added to the teacher's score" in done.err) == (4, True), done.err
    done = train(
        pair_files,
        base_models,
        tmp_path / "true",
        "--set",
        "objectives={answer_cross_entropy: 1}",
        keep_teacher="true",
    )
    assert (done.code, "no teacher is given; give --teacher" in done.err) == (4, True), done.err


RESIDUAL = ("--set", "objectives={answer_with_teacher: 1}")


def test_an_answer_trained_with_its_teacher_is_summed_with_it(base_models, pair_files, taught, tmp_path):
    done = train(pair_files, base_models, tmp_path / "run", *RESIDUAL, "--teacher", taught)
    assert done.code == 0, done.err
    assert done.err.count("answer_with_teacher reads the teacher's scores of pairs that it was fine-tuned on") == 1
    assert "answer + teacher, average precision" in done.err  # chosen, or next
    forced = train(pair_files, base_models, tmp_path / "kept", *RESIDUAL, "--teacher", taught, keep_teacher="true")
    assert forced.code == 0, forced.err
    assert set(read_contract(tmp_path / "kept" / "matcher").score) == {"answer", "teacher"}


@pytest.mark.parametrize("settings", [{"keep_teacher": "false"}, {"score": "answer"}])
def test_an_answer_trained_with_its_teacher_needs_it(base_models, pair_files, taught, tmp_path, settings):
    done = train(pair_files, base_models, tmp_path / "run", *RESIDUAL, "--teacher", taught, **settings)
    assert (done.code, "trains an answer that is added to the teacher's score, but" in done.err) == (4, True), done.err
    assert not (tmp_path / "run").exists()


def test_an_answer_trained_with_several_teachers_is_refused(base_models, pair_files, taught, tmp_path):
    """The objective would read the score of all, and the matcher add that of the first."""
    words = (*RESIDUAL, "--teacher", taught, "--other_teachers", taught)
    done = train(pair_files, base_models, tmp_path / "run", *words)
    assert (done.code, "keeps only the first of several teachers" in done.err) == (4, True), done.err
    assert not (tmp_path / "run").exists()


def test_matcher_rejects_a_damaged_or_other_teacher(with_teacher, tmp_path):
    folder = shutil.copytree(Path(with_teacher) / "matcher", tmp_path / "m")
    weights = folder / "teacher" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        Matcher.from_pretrained(folder)
    write_manifest(folder)  # as if somebody had put another model there, manifest and all
    with pytest.raises(ArtefactError, match="has the fingerprint"):
        Matcher.from_pretrained(folder)
    shutil.rmtree(folder / "teacher")
    write_manifest(folder)
    with pytest.raises(ArtefactError, match="no such folder, but according to matcher"):
        Matcher.from_pretrained(folder)


def test_matcher_without_teacher_imports_no_sentence_transformers(make_student, tmp_path, monkeypatch):
    made, contract = make_student()
    with new_folder(tmp_path / "m") as folder:
        made.save(folder, contract)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # whoever imports it now gets an ImportError
    for module in (flipkd_matcher, flipkd_pair_scorer, kept_teacher, flipkd_teacher):
        runpy.run_path(module.__file__)
    assert Matcher.from_pretrained(tmp_path / "m").predict([("a", "b")]).shape == (1,)
    with pytest.raises(ConfigError, match="keeps no teacher"):
        Matcher(made, contract).teacher_scores([("a", "b")])
