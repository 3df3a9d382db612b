"""Cascade: fitted by calibrate, used by match and evaluate, rejected without a band."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from command_line import flipkd
from servers import running

from flipkd import Matcher
from flipkd.data.pairs import read_pairs
from flipkd.errors import ConfigError
from flipkd.evaluate.metrics import measure
from flipkd.index import Index
from flipkd.training.finish import CASCADE_LOSS


def calibrated(matcher, pair_files, output_dir, *arguments):
    pairs = ("--validation_file", pair_files["validation"])
    return flipkd("calibrate", "--matcher", matcher, *pairs, "--output_dir", output_dir, *arguments)


@pytest.fixture(scope="module")
def banded(with_teacher, pair_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("banded") / "m"
    done = calibrated(with_teacher, pair_files, folder, "--cascade", 0.2, "--json")
    assert done.code == 0, done.err
    return folder, json.loads(done.out)


@pytest.fixture(scope="module")
def pairs(pair_files):
    dataset = read_pairs(pair_files["validation"])
    return list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))


def with_band(matcher, low, high):
    """The matcher with other bounds."""
    cascade = matcher.contract.cascade.model_copy(update={"low": low, "high": high})
    contract = matcher.contract.model_copy(update={"cascade": cascade})
    return Matcher(matcher.student, contract, teacher=matcher.teacher)


def test_cascade_scores_the_band_by_the_student_and_the_rest_by_the_teacher(banded, pairs):
    matcher = Matcher.from_pretrained(banded[0])
    band = matcher.contract.cascade
    teacher, whole = matcher.teacher_scores(pairs).astype(np.float64), matcher.predict(pairs)
    middle = float(np.median(teacher))
    for used in (matcher, with_band(matcher, middle - 0.05, middle + 0.05)):
        low, high = used.contract.cascade.low, used.contract.cascade.high
        inside = (teacher >= (-9 if low is None else low)) & (teacher < (9 if high is None else high))
        scores, read = used.cascade(pairs, batch_size=5)
        assert read.tolist() == inside.tolist()
        np.testing.assert_allclose(scores[inside], whole[inside], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores[~inside], (band.slope * teacher + band.intercept)[~inside], rtol=1e-5)
        np.testing.assert_array_equal(used.predict(pairs, batch_size=5, cascade=True), scores)
        assert used.decide(pairs, cascade=True) == used.decisions(scores)
        np.testing.assert_allclose(used.predict_proba(pairs, cascade=True), used.calibration.apply(scores), atol=1e-5)
    low, high = band.low, band.high
    decided = np.array(matcher.decide(pairs, cascade=True))
    assert set(decided[teacher < (-9 if low is None else low)]) <= {"no_match"}
    assert set(decided[teacher >= (9 if high is None else high)]) <= {"match"}


@pytest.mark.parametrize("bounds", [(None, None), (-sys.float_info.max, sys.float_info.max)])
def test_cascade_without_bounds_equals_predict(banded, pairs, bounds):
    matcher = with_band(Matcher.from_pretrained(banded[0]), *bounds)
    scores, read = matcher.cascade(pairs)
    assert read.all()
    assert scores.tolist() == matcher.predict(pairs).tolist()
    assert matcher.cascade([])[0].shape == (0,)


def test_cascade_skips_the_student_for_pairs_of_the_teacher(banded, pairs, monkeypatch):
    matcher = Matcher.from_pretrained(banded[0])
    top = float(matcher.teacher_scores(pairs).max()) + 1
    requested = []
    matcher = with_band(matcher, top, top)
    monkeypatch.setattr(
        matcher, "_one_order", lambda left, right, **more: requested.extend(left) or np.zeros(len(left))
    )
    _, read = matcher.cascade(pairs)
    assert not read.any()
    assert requested == []


def test_a_matcher_loaded_with_cascade_uses_it_in_every_method_and_counts(banded, pairs):
    plain, quick = (Matcher.from_pretrained(banded[0], cascade=cascade) for cascade in (False, True))
    scores, by_llm = plain.cascade(pairs)
    assert not by_llm.all()
    assert plain.scored_by == {"student": by_llm.sum(), "teacher": (~by_llm).sum()}
    assert quick.predict(pairs).tolist() == plain.predict(pairs, cascade=True).tolist() == scores.tolist()
    assert quick.scored_by == {"student": by_llm.sum(), "teacher": (~by_llm).sum()}
    assert quick.predict(pairs, cascade=False).tolist() == plain.predict(pairs).tolist() != scores.tolist()
    assert quick.decide(pairs) == quick.decisions(scores)
    query, documents = pairs[0][0], [right for _, right in pairs[:6]]
    expected = sorted(plain.predict([(query, text) for text in documents], cascade=True).tolist(), reverse=True)
    for ranked in (quick.rank(query, documents), plain.rank(query, documents, cascade=True)):
        assert [row["score"] for row in ranked] == expected
    assert [row["score"] for row in plain.rank(query, documents)] != expected
    index = Index([{"text": text} for text in documents], np.eye(6, dtype=np.float32), encoder={})
    for searched in (quick, plain):
        hits = searched.search(
            query, index, vector=np.eye(6, dtype=np.float32)[0], top_k=6, candidates=6, cascade=True
        )
        assert [hit["score"] for hit in hits] == expected


def test_train_fits_a_cascade_where_the_teacher_is_kept(with_teacher, pairs, pair_files):
    matcher = Matcher.from_pretrained(with_teacher)
    labels = np.array(read_pairs(pair_files["validation"])["label"][:])
    f1 = {
        cascade: measure(matcher.predict(pairs, cascade=cascade), labels, threshold=matcher.threshold)["f1"]
        for cascade in (False, True)
    }
    assert f1[True] >= f1[False] - CASCADE_LOSS
    assert matcher.scored_by["teacher"] > 0


def test_search_and_serve_use_the_cascade_and_report_its_share(banded, taught, pair_files, pairs, tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "".join(f"{right}\n" for right in dict.fromkeys(right for _, right in pairs)))
    flipkd("index", texts, "--encoder", taught, "--output_dir", tmp_path / "index")
    arguments = ("--matcher", banded[0], "--index", tmp_path / "index")
    query = pairs[0][0]
    done = flipkd("search", query, *arguments, "--cascade", "--top_k", 3)
    assert done.code == 0, done.err
    rows = [json.loads(row) for row in done.out.splitlines()]
    matcher = Matcher.from_pretrained(banded[0])
    again = matcher.predict([(query, row["text"]) for row in rows], cascade=True)
    assert [row["score"] for row in rows] == pytest.approx(again.tolist(), abs=1e-5)
    scores, by_llm = matcher.cascade(pairs)
    serving = (sys.executable, "-m", "flipkd", "serve", "--port", 0, "--matcher", banded[0], "--cascade")
    with running(*serving, first_line_on="stderr") as server:
        server.until_ready()
        before = scored_by(server)
        found = server.request("/match", {"pairs": pairs}).json["results"]
        assert [row["score"] for row in found] == pytest.approx(scores.tolist(), abs=1e-5)
        after = scored_by(server)
    assert after["student"] - before["student"] == by_llm.sum()
    assert after["teacher"] - before["teacher"] == (~by_llm).sum()


def scored_by(server):
    """The counter of pairs of a server, by the model that decided them."""
    lines = [
        line for line in server.request("/metrics").text.splitlines() if line.startswith("flipkd_scored_pairs_total")
    ]
    return {line.partition('scored_by="')[2].partition('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_calibrate_reports_and_evaluate_measures_the_cascade(banded, pair_files):
    folder, report = banded
    fit = report["cascade"]
    assert 0 < fit["share"] <= 1
    assert fit["f1"] >= fit["f1_all_read"] - 0.2
    assert fit["f1_all_read"] == report["metrics"]["f1"]
    arguments = ("evaluate", "--matcher", folder, "--test_file", pair_files["validation"], "--json")
    measured = json.loads(flipkd(*arguments, "--cascade").out)
    assert measured["by_teacher"] == pytest.approx(fit["share"])
    assert measured["f1"] == pytest.approx(fit["f1"])
    assert measured["f1_all_read"] == pytest.approx(fit["f1_all_read"])
    assert measured["f1_lost"] == pytest.approx(fit["f1_all_read"] - fit["f1"])
    assert min(measured["seconds"], measured["seconds_all_read"]) > 0
    assert "by_teacher" not in json.loads(flipkd(*arguments).out)


def test_evaluate_measures_the_cascade_with_the_memory_that_decides_first(banded, pair_files):
    arguments = ("evaluate", "--matcher", banded[0], "--test_file", pair_files["validation"], "--cascade", "--json")
    measured = json.loads(flipkd(*arguments, "--memory", pair_files["validation"]).out)
    assert (measured["by_memory"], measured["by_teacher"]) == (1.0, 0.0)
    assert (measured["f1"], measured["f1_all_read"], measured["f1_lost"]) == (1.0, 1.0, 0.0)


def test_match_with_cascade_reports_who_scored_a_pair(banded, pair_files, pairs, tmp_path):
    folder, report = banded
    done = flipkd("match", "--matcher", folder, pair_files["validation"], "--cascade")
    assert done.code == 0, done.err
    rows = [json.loads(row) for row in done.out.splitlines()]
    matcher = Matcher.from_pretrained(folder)
    scores, read = matcher.cascade(pairs)
    assert [row["scored_by"] for row in rows] == ["student" if by_student else "teacher" for by_student in read]
    assert [row["score"] for row in rows] == pytest.approx(scores.tolist(), rel=1e-5)
    assert [row["decision"] for row in rows] == matcher.decisions(scores)
    share = f"cascade: the teacher alone decided {100 * report['cascade']['share']:.1f} % of 24 pairs; "
    assert share in done.err
    assert " pairs a second" in done.err
    written = flipkd(
        "match", "--matcher", folder, pair_files["validation"], "--cascade", "--output", tmp_path / "o.csv"
    )
    assert f"o.csv: 24 pairs, {sum(row['decision'] == 'match' for row in rows)} match" in written.out
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == "text1,text2,score,probability,decision,scored_by"
    one = flipkd("match", "--matcher", folder, "--text1", pairs[0][0], "--text2", pairs[0][1], "--cascade")
    assert json.loads(one.out)["scored_by"] == rows[0]["scored_by"]
    assert "scored_by" not in flipkd("match", "--matcher", folder, pair_files["validation"]).out


def test_calibrate_without_cascade_drops_the_band_and_warns(banded, pair_files, tmp_path):
    done = calibrated(banded[0], pair_files, tmp_path / "again")
    assert done.code == 0, done.err
    assert " is for its own threshold; give --cascade, for example --cascade 0.005, to fit one" in done.err
    with pytest.raises(ConfigError, match="no fitted cascade"):
        Matcher.from_pretrained(tmp_path / "again").predict([("a", "b")], cascade=True)
    done = calibrated(banded[0], pair_files, tmp_path / "text", "--cascade", 0.2)
    assert "cascade: the teacher alone decides " in done.out


def test_cascade_is_rejected_without_a_band(make_student, with_teacher, pair_files, tmp_path):
    calibrated(with_teacher, pair_files, tmp_path / "none")
    done = flipkd("match", "--matcher", tmp_path / "none", pair_files["validation"], "--cascade")
    assert (done.code, "flipkd calibrate --cascade 0.005" in done.err) == (4, True), done.err
    done = calibrated(with_teacher, pair_files, tmp_path / "m", "--cascade", 1.5)
    assert (done.code, "for example 0.005" in done.err) == (4, True), done.err
    assert [folder.name for folder in tmp_path.iterdir()] == ["none"]
    with pytest.raises(ConfigError, match="no fitted cascade"):
        Matcher.from_pretrained(tmp_path / "none", cascade=True)
    matcher = Matcher(*make_student())
    with pytest.raises(ConfigError, match="keeps no teacher"):
        matcher.decide([("a", "b")], cascade=True)
