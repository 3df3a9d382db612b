"""Several teachers in one run: their scores on the scale of the first, which alone gives vectors and may be kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import flipkd, given, student
from scipy.special import expit

from flipkd.commands.mixed_teacher import MixedTeacher, training_teacher
from flipkd.config import TrainConfig
from flipkd.data.pairs import read_pairs
from flipkd.evaluate.calibration import fit_calibration
from flipkd.teachers.stored_teacher import StoredTeacher


@pytest.fixture(scope="module")
def given_scores(tmp_path_factory, pair_files):
    """A teacher of given scores, which know the label."""
    folder = tmp_path_factory.mktemp("given") / "teacher"
    done = flipkd("teach", *given(pair_files), "--teacher_type", "scores", "--output_dir", folder)
    assert done.code == 0, done.err
    return str(folder)


def test_scores_are_mixed_as_probabilities_on_the_scale_of_the_first(taught, given_scores, pair_files):
    validation = read_pairs(pair_files["validation"])
    teachers = [StoredTeacher(taught), StoredTeacher(given_scores)]
    mixed = MixedTeacher(teachers, weighting="mean", validation=validation)
    signal, alone = mixed.signal(validation), [teacher.signal(validation) for teacher in teachers]
    assert np.array_equal(signal.left, alone[0].left)
    label = np.array(validation["label"][:])
    fits = [fit_calibration(one.pair_scores(), label, method="sigmoid") for one in alone]
    probability = np.mean([fit.apply(one.pair_scores()) for fit, one in zip(fits, alone, strict=True)], axis=0)
    own = fits[0].slope * signal.score + fits[0].intercept
    assert expit(own) == pytest.approx(probability, abs=1e-4)


def test_a_run_with_two_teachers_records_both_and_keeps_the_first(
    base_models, pair_files, taught, given_scores, tmp_path
):
    words = (
        "train",
        *given(pair_files),
        *student(base_models["llama"], keep_teacher="true", mined_ratio=0),
        "--teacher",
        taught,
    )
    more = ("--other_teachers", given_scores, "--teacher_weights", "router", "--output_dir", tmp_path / "run")
    refused = flipkd(*words, *more, "--set", "mined_ratio=1")
    assert refused.code == 4
    assert "cannot score mined pairs; set mined_ratio to 0" in refused.err
    done = flipkd(*words, *more)
    assert done.code == 0, done.err
    kept = json.loads((tmp_path / "run" / "matcher" / "matcher.json").read_text())["teacher"]
    assert kept["kind"] == "bi_encoder"
    changed = flipkd(*words, "--output_dir", tmp_path / "run")
    assert changed.code == 4
    assert "teacher_weights" in changed.err


def test_a_second_run_from_the_first_has_its_matcher_and_a_stronger_teacher(
    base_models, pair_files, trained, taught, given_scores, tmp_path
):
    """Progressive teachers: the earlier student anchors the next one, which starts from it."""
    words = (
        "train",
        *given(pair_files),
        *student(base_models["llama"], keep_teacher="false", mined_ratio=0),
        "--teacher",
        taught,
    )
    done = flipkd(
        *words, "--other_teachers", f"{given_scores},{trained}", "--init_from", trained, "--output_dir", tmp_path / "2"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "2" / "matcher").exists()
    assert Path(f"{trained}/matcher-scores").exists(), "the scores of the earlier student are stored beside it"


def test_other_teachers_without_a_first_one_are_an_error(base_models, pair_files, given_scores, tmp_path):
    words = ("train", *given(pair_files), *student(base_models["llama"]), "--other_teachers", given_scores)
    done = flipkd(*words, "--output_dir", tmp_path / "run")
    assert done.code == 4
    assert "name the first teacher with --teacher" in done.err


@pytest.mark.parametrize("option", ["--teacher", "--other_teachers"])
def test_require_teachers_refuses_a_missing_folder_before_a_model_is_loaded(
    base_models, pair_files, given_scores, tmp_path, option
):
    words = ("train", *given(pair_files), *student(base_models["llama"]), "--output_dir", tmp_path / "run")
    done = flipkd(
        *words, *(["--teacher", given_scores] if option != "--teacher" else []), option, tmp_path / "nowhere"
    )
    assert (done.code, "nowhere: no such folder" in done.err, "loading" in done.err) == (4, True, False), done.err


def test_weights_of_one_teacher_have_no_effect_and_a_warning_says_so(taught, pair_files, caplog):
    config = TrainConfig.check(
        {
            "train_file": pair_files["train"],
            "validation_file": pair_files["validation"],
            "teacher": taught,
            "teacher_weights": "router",
        }
    )
    assert training_teacher(config, validation=None).fingerprint == StoredTeacher(taught).fingerprint
    assert "teacher_weights=router has no effect without other_teachers" in caplog.text


def test_the_fingerprint_has_the_out_of_fold_scores_of_some_teachers():
    """Where all have some, `folds` has them; a run records both."""

    def mixed(*folds):
        teachers = [
            SimpleNamespace(fingerprint=f"t{k}", folds=one, kind="x", fine_tuned=True) for k, one in enumerate(folds)
        ]
        made = MixedTeacher(teachers, weighting="mean", validation=None)
        return made.fingerprint, made.folds

    assert len({mixed(None, None), mixed("a", None), mixed("b", None), mixed(None, "a"), mixed("a", "b")}) == 5
    assert mixed(None, None)[0] == mixed("a", "b")[0]
    assert mixed("a", None)[1] is None
