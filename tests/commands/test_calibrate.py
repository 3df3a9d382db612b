"""calibrate: a new matcher with other decisions and the same scores; the old one is unchanged."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import flipkd
from scipy.special import expit
from sklearn.metrics import precision_score, recall_score

from flipkd import Matcher
from flipkd.commands.calibrate import fit_contract
from flipkd.evaluate import expected_calibration_error, fit_calibration, threshold_for
from flipkd.evaluate.calibration import AUTO
from flipkd.evaluate.targets import Target
from flipkd.files import check_manifest, write_manifest
from flipkd.student.contract import FORMAT
from flipkd.student.scoring import score_pairs


def labels_in(path):
    with open(path, encoding="utf-8") as handle:
        return np.array([int(row["label"]) for row in csv.DictReader(handle)])


def rows_of(matcher, pairs):
    return [json.loads(line) for line in flipkd("match", "--matcher", matcher, pairs).out.splitlines()]


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def arguments(trained, pair_files, output_dir, *more):
    pairs = ("--validation_file", pair_files["validation"])
    return ("calibrate", "--matcher", trained, *pairs, "--output_dir", output_dir, *more)


def test_calibrate_sets_threshold_and_review_band_for_every_command(trained, pair_files, tmp_path):
    before, new = everything(trained), tmp_path / "new"
    done = flipkd(*arguments(trained, pair_files, new, "--threshold", "precision=1", "--review", "recall=1", "--json"))
    assert done.code == 0, done.err
    assert everything(trained) == before
    check_manifest(new)

    label, rows = labels_in(pair_files["validation"]), rows_of(new, pair_files["validation"])
    score = np.array([row["score"] for row in rows])
    assert score.tolist() == [row["score"] for row in rows_of(trained, pair_files["validation"])]
    matcher = Matcher.from_pretrained(new)
    assert matcher.threshold == threshold_for(score, label, precision=1).value
    assert matcher.review_threshold == threshold_for(score, label, recall=1).value
    decided = np.array([row["decision"] for row in rows])
    assert decided.tolist() == matcher.decisions(score)
    assert set(decided) == {"match", "review", "no_match"}

    report = json.loads(done.out)
    assert report["metrics"]["precision"] == precision_score(label, decided == "match") == 1
    assert report["metrics"]["reviewed"] == np.mean(decided == "review")
    missed = np.mean(decided[label == 1] == "no_match")
    assert report["metrics"]["missed"] == missed == 0
    assert (report["kept"]["hits"], report["kept"]["n"]) == (np.sum(decided[label == 1] != "no_match"), label.sum())
    assert report["precision"]["n"] == np.sum(decided == "match")

    metrics = json.loads(flipkd("evaluate", "--matcher", new, "--test_file", pair_files["validation"], "--json").out)
    assert metrics == report["metrics"]
    card = (new / "README.md").read_text()
    assert f"{matcher.threshold:.4f} is a match" in card
    assert f"{matcher.review_threshold:.4f} on is for a person" in card
    matched = flipkd("match", "--matcher", new, pair_files["validation"], "--output", tmp_path / "m.csv").out
    assert f"{sum(decided == 'match')} match, {sum(decided == 'review')} review" in matched


def test_calibrate_fits_to_the_given_pairs(trained, pair_files, tmp_path):
    pairs = ("--validation_file", pair_files["test"])
    done = flipkd("calibrate", "--matcher", trained, *pairs, "--output_dir", tmp_path / "new", "--threshold", "0.25")
    assert done.code == 0, done.err
    new, score = (
        Matcher.from_pretrained(tmp_path / "new"),
        [row["score"] for row in rows_of(trained, pair_files["test"])],
    )
    method = AUTO if set(new.contract.score) == {"answer"} else "sigmoid"
    assert new.calibration == fit_calibration(score, labels_in(pair_files["test"]), method=method)
    assert (new.threshold, new.review_threshold) == (0.25, None)
    assert "precision: " in done.out
    assert "review: " not in done.out


def test_fit_contract_follows_the_base_rate_and_warns_of_flat_scores(trained, caplog):
    contract = Matcher.from_pretrained(trained).contract.model_copy(update={"score": {"answer": 1.0}})
    label = np.repeat([1, 0], [5, 240])
    draw = np.random.default_rng(0).normal(size=245)
    few = fit_contract(contract, draw + 3 * label, label, threshold=Target.parse("f1"), review=None)
    assert few.calibration["method"] == "sigmoid"
    probability = expit(few.calibration["slope"] * (draw + 3 * label) + few.calibration["intercept"])
    assert probability.mean() == pytest.approx(5 / 245, abs=0.01)
    assert expected_calibration_error(probability, label) < 0.02
    assert not caplog.messages
    fit_contract(contract, -draw - 3 * label, label, threshold=Target.parse("f1"), review=None)
    assert caplog.messages == [
        "every pair gets a probability of about 0.022: on these pairs matches do not have higher scores"
    ]


def test_calibrate_accepts_a_matcher_folder_and_its_own_output(trained, pair_files, tmp_path):
    assert (
        flipkd(*arguments(Path(trained) / "matcher", pair_files, tmp_path / "one", "--threshold", "recall=0.5")).code
        == 0
    )
    assert flipkd(*arguments(tmp_path / "one", pair_files, tmp_path / "two")).code == 0
    label, score = (
        labels_in(pair_files["validation"]),
        [r["score"] for r in rows_of(trained, pair_files["validation"])],
    )
    one, two = (Matcher.from_pretrained(tmp_path / name) for name in ("one", "two"))
    assert recall_score(label, np.array(one.decisions(score)) == "match") >= 0.5
    assert two.threshold == Matcher.from_pretrained(trained).threshold


@pytest.mark.slow
@pytest.mark.scenario("N6")
def test_calibrate_sets_and_unsets_symmetric(trained, pair_files, tmp_path):
    assert flipkd(*arguments(trained, pair_files, tmp_path / "both", "--symmetric")).code == 0
    assert flipkd(*arguments(tmp_path / "both", pair_files, tmp_path / "kept")).code == 0
    assert flipkd(*arguments(tmp_path / "both", pair_files, tmp_path / "back", "--no-symmetric")).code == 0
    pairs = [(row["text1"], row["text2"]) for row in rows_of(trained, pair_files["test"])]
    swapped = [(b, a) for a, b in pairs]
    one, both, kept, back = (
        Matcher.from_pretrained(f) for f in (trained, *(tmp_path / n for n in ("both", "kept", "back")))
    )
    mean = (one.predict(pairs).astype(np.float64) + one.predict(swapped)) / 2
    assert np.abs(one.predict(pairs) - one.predict(swapped)).max() > 1e-3
    np.testing.assert_allclose(both.predict(pairs), mean, atol=1e-5)
    np.testing.assert_allclose(both.predict(swapped), both.predict(pairs), atol=1e-5)
    assert kept.predict(pairs).tolist() == both.predict(pairs).tolist()
    assert back.predict(pairs).tolist() == one.predict(pairs).tolist()
    ranked = both.rank(*pairs[0][:1], [b for _, b in pairs[:5]])
    assert ranked[0]["score"] == both.predict([(pairs[0][0], b) for _, b in pairs[:5]], batch_size=64).max()


def test_fit_contract_drops_an_empty_review_band(trained, pair_files, tmp_path):
    more = ("--threshold", "recall=1", "--review", "recall=0.5")
    done = flipkd(*arguments(trained, pair_files, tmp_path / "new", *more))
    assert done.code == 0, done.err
    assert "no pair needs review" in done.err
    assert Matcher.from_pretrained(tmp_path / "new").review_threshold is None


@pytest.mark.parametrize(
    "more, code, expected",
    [
        (("--threshold", "precision=95"), 4, "did you mean precision=0.95?"),
        (
            ("--threshold", "recall=1", "--review", "precision=0.99"),
            4,
            "it must begin below that: give --review a recall",
        ),
        (
            ("--threshold", "1", "--review", "2"),
            4,
            "the review band would begin at 2, but a score of 1 is already a match",
        ),
        (("--threshold", "best"), 4, "is not a target for a threshold"),
        (("--review", "recall=2"), 4, "is not a target for a threshold"),
    ],
)
def test_calibrate_rejects_wrong_targets_and_writes_nothing(trained, pair_files, tmp_path, more, code, expected):
    done = flipkd(*arguments(trained, pair_files, tmp_path / "new", *more))
    assert done.code == code, done.err
    assert expected in done.err
    assert not list(tmp_path.iterdir())


def test_calibrate_rejects_an_existing_output_and_a_missing_matcher(trained, pair_files, tmp_path):
    done = flipkd(*arguments(trained, pair_files, tmp_path))
    assert (done.code, done.out) == (5, "")
    assert "exists already" in done.err
    done = flipkd(*arguments(tmp_path / "none", pair_files, tmp_path / "new"))
    assert done.code == 4
    assert not list(tmp_path.iterdir())


def test_calibrate_with_a_read_only_matcher_an_edited_card_and_format_1(trained, pair_files, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(Path(trained) / "matcher", old)
    contract = json.loads((old / "matcher.json").read_text())
    for name in ("symmetric", "review_threshold", "teacher", "cascade"):
        del contract[name]
    (old / "matcher.json").write_text(json.dumps(contract | {"format": 1, "score": {"answer": 1.0}}))
    write_manifest(old)
    (old / "README.md").write_text("# My own words")  # after the manifest, as someone would
    for path in [old, *old.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = flipkd(*arguments(old, pair_files, tmp_path / "new"))
    assert done.code == 0, done.err
    new = Matcher.from_pretrained(tmp_path / "new")
    assert new.contract.format == FORMAT
    assert (tmp_path / "new" / "README.md").read_text().startswith("# My own words\n<!-- decisions -->")
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "new").rglob("*"))


def test_calibrate_copies_only_files_of_the_manifest(trained, pair_files, tmp_path):
    folder = shutil.copytree(Path(trained) / "matcher", tmp_path / "m")
    (tmp_path / "secret").write_text("secret")
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to(tmp_path / "secret")
    done = flipkd(*arguments(folder, pair_files, tmp_path / "new"))
    assert done.code == 0, done.err
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    found = {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert found == set(listed) | {"manifest.json"}


def test_calibrate_warns_of_unusual_results(trained, pair_files, tmp_path):
    assert (
        flipkd(*arguments(trained, pair_files, tmp_path / "band", "--threshold", "1e9", "--review", "recall=0.5")).code
        == 0
    )
    done = flipkd(*arguments(tmp_path / "band", pair_files, tmp_path / "all", "--threshold", "-1e9"))
    assert "every pair is a match" in done.err
    assert "the new matcher has no review band" in done.err


def test_require_writable_rejects_the_input_file(trained, pair_files, tmp_path):
    source = tmp_path / "p.csv"
    shutil.copy(pair_files["test"], source)
    before = source.read_bytes()
    for command in (["match", source], ["evaluate", "--test_file", source]):
        done = flipkd(command[0], "--matcher", trained, *command[1:], "--output", source)
        assert done.code == 2
        assert "is the input file; choose another output path" in done.err
    assert source.read_bytes() == before


def test_calibrate_score_makes_a_matcher_of_one_part_of_the_score(make_student, pair_files, tmp_path):
    from tiny_matchers import write_matcher

    old = write_matcher(make_student, tmp_path / "old", "llama", "separate", score={"answer": 0.5, "cosine": 1.0})
    (old / "README.md").write_text("score = 0.5 answer + 1 cosine. More.\n", encoding="utf-8")
    done = flipkd(*arguments(old, pair_files, tmp_path / "new", "--score", "answer"))
    assert done.code == 0, done.err
    new = Matcher.from_pretrained(tmp_path / "new")
    assert new.contract.score == {"answer": 1.0}
    assert "score = 1 answer. More." in (tmp_path / "new" / "README.md").read_text()
    with open(pair_files["validation"], encoding="utf-8") as handle:
        pairs = [(row["text1"], row["text2"]) for row in csv.DictReader(handle)]
    scores, before = new.predict(pairs), Matcher.from_pretrained(old)
    answers = score_pairs(before.student, *map(list, zip(*pairs, strict=True))).answer
    np.testing.assert_allclose(scores, answers, atol=1e-5)
    fitted = fit_calibration(scores, labels_in(pair_files["validation"]), method=AUTO)
    assert new.calibration == fitted
    assert before.contract.score == {"answer": 0.5, "cosine": 1.0}


def test_base_rate_corrects_probabilities_and_thresholds_of_every_command(trained, pair_files, tmp_path):
    for name, more in (("plain", ()), ("rare", ("--base_rate", 0.03))):
        done = flipkd(*arguments(trained, pair_files, tmp_path / name, "--threshold", "f1", *more, "--json"))
        assert done.code == 0, done.err
    report = json.loads(done.out)
    plain, rare = (Matcher.from_pretrained(tmp_path / name) for name in ("plain", "rare"))
    label = labels_in(pair_files["validation"])
    share = label.mean()
    assert (plain.contract.base_rate.rate, plain.contract.base_rate.pairs) == (share, len(label))
    assert (rare.contract.base_rate.rate, rare.contract.base_rate.pairs) == (0.03, None)
    rows = rows_of(tmp_path / "rare", pair_files["validation"])
    score = np.array([row["score"] for row in rows])
    fitted = fit_calibration(score, label, method="sigmoid").apply(score)
    odds = fitted / (1 - fitted) * (0.03 / 0.97) / (share / (1 - share))
    assert [row["probability"] for row in rows] == pytest.approx((odds / (1 + odds)).tolist(), abs=1e-6)
    assert rare.threshold >= plain.threshold, "false matches weigh more among rare matches"
    assert report["base_rate"]["stated"] == 0.03
    assert report["metrics"]["precision"] == precision_score(label, score >= rare.threshold), "of these pairs"
    card = (tmp_path / "rare" / "README.md").read_text()
    assert "corrected for pairs of which 0.03 match (the figures below are those before the correction)" in card
    before = np.mean((fitted - label) ** 2)
    assert report["metrics"]["brier_score"] == pytest.approx(before, abs=1e-6)
    assert f"| brier_score | {before:.4f} |" in card
    assert "corrected" not in (tmp_path / "plain" / "README.md").read_text()
    text = flipkd(*arguments(trained, pair_files, tmp_path / "again", "--base_rate", 0.03)).out
    assert "base rate: 3.000% instead of" in text


def test_calibrate_warns_of_pairs_with_another_base_rate(trained, pair_files, tmp_path):
    rows = []
    for name in ("train", "test"):
        with open(pair_files[name], encoding="utf-8") as file:
            rows += csv.DictReader(file)
    kept = [row for row in rows if row["label"] == "0"] + [row for row in rows if row["label"] == "1"][:3]
    with open(tmp_path / "few.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    pairs = ("--validation_file", tmp_path / "few.csv")
    done = flipkd("calibrate", "--matcher", trained, *pairs, "--output_dir", tmp_path / "a")
    assert done.code == 0, done.err
    assert "of these pairs match; the matcher was fitted for" in done.err
    assert "--base_rate" in done.err
    stated = flipkd("calibrate", "--matcher", trained, *pairs, "--output_dir", tmp_path / "b", "--base_rate", 0.1)
    assert "was fitted for" not in stated.err
    assert "was fitted for" not in flipkd(*arguments(trained, pair_files, tmp_path / "c")).err
    refused = flipkd(*arguments(trained, pair_files, tmp_path / "d", "--base_rate", 0.1, "--cascade", 0.01))
    assert (refused.code, "not both" in refused.err) == (4, True)
    refused = flipkd(*arguments(trained, pair_files, tmp_path / "d", "--base_rate", 1.5))
    assert (refused.code, "base_rate is 1.5" in refused.err) == (2, True)
