"""From settings to a finished folder: what is refused, what may change, what stands in the folder."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError, ConfigError
from flipkd.evaluate import choose_score, weighted_sum
from flipkd.evaluate.calibration import fit_calibration
from flipkd.files import check_manifest
from flipkd.matcher import Matcher
from flipkd.student.contract import read_contract
from flipkd.student.loading import load_student
from flipkd.student.scoring import score_pairs
from flipkd.training.batches import PairTable, TeacherSignal
from flipkd.training.finish import finished
from flipkd.training.run import (
    PASSED_ON,
    fresh_student,
    identity_of,
    run_objectives,
    train,
)
from flipkd.training.thresholds import teacher_calibration, teacher_facts


def test_a_run_leaves_a_sealed_folder_that_scores(make_config, table):
    config = make_config(num_train_epochs=1, template={"question": "\nSame?"})
    assert finished(config) is None
    student, contract = fresh_student(config)
    folder = train(student, contract, config, table=table, validation=table)
    check_manifest(folder)
    assert finished(config) == folder
    stored = read_contract(folder)
    assert stored.calibration["slope"] > 0
    assert stored.template["question"] == "\nSame?"
    loaded, _ = load_student(folder)
    before = score_pairs(student, table.left[:4], table.right[:4]).answer
    assert score_pairs(loaded, table.left[:4], table.right[:4]).answer == pytest.approx(before, abs=1e-5)
    (folder / "readout.safetensors").write_bytes(b"changed")
    with pytest.raises(ArtefactError, match="sha256"):
        finished(config)


def test_each_pair_is_read_in_both_orders_in_turn(make_config, table):
    config = make_config(num_train_epochs=2, swap_texts=True)
    student, contract = fresh_student(config)
    collate, read = student.collate, []

    def noted(left, right, **more):
        read.extend(zip(left, right, strict=True))
        return collate(left, right, **more)

    student.collate = noted
    train(student, contract, config, table=table, validation=table)
    ours, turned = (list(zip(*sides, strict=True)) for sides in ((table.left, table.right), (table.right, table.left)))
    assert sorted(read) == sorted([*ours, *turned])
    first = read[: len(table)]
    assert len(set(first) & set(ours)) > 10 < len(set(first) & set(turned))


def test_a_place_off_the_path_needs_to_be_allowed(make_config):
    places = {"readout_modules": ["o_proj"], "readout_layers": [-1]}
    with pytest.raises(ConfigError, match="cannot reach the answer"):
        fresh_student(make_config(**places, allow_readout_off_path=False))
    _, contract = fresh_student(make_config(**places, allow_readout_off_path=True))
    assert contract.readout_places == ["model.layers.2.self_attn.o_proj"]


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes: flipkd[bnb]")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_run_over_a_base_in_4_bits_scores_as_it_trained(make_config, table, checkpointing):
    config = make_config(num_train_epochs=1, load_in_4bit=True, activation_checkpointing=checkpointing)
    student, contract = fresh_student(config)
    folder = train(student, contract, config, table=table, validation=table)
    assert read_contract(folder).load_in_4bit
    before = score_pairs(student, table.left[:4], table.right[:4], represent=True)
    assert before.cosine.std() > 0
    for merge in (False, True):
        after = score_pairs(load_student(folder, merge=merge)[0], table.left[:4], table.right[:4], represent=True)
        assert after.answer == pytest.approx(before.answer, abs=1e-4)
        assert after.cosine == pytest.approx(before.cosine, abs=1e-4)


@pytest.mark.parametrize("score, kinds", [("answer", {"answer"}), ("cosine", {"cosine"})])
def test_the_score_that_was_asked_for_decides(make_config, table, score, kinds):
    config = make_config(num_train_epochs=1, score=score)
    student, contract = fresh_student(config)
    folder = train(student, contract, config, table=table, validation=table)
    assert set(read_contract(folder).score) == kinds
    found = score_pairs(student, table.left, table.right, represent=True).kinds[score]
    assert Matcher.from_pretrained(folder).predict(list(zip(table.left, table.right, strict=True))) == pytest.approx(
        found, abs=1e-4
    )


def test_by_itself_the_best_score_on_validation_decides(make_config, table):
    config = make_config(num_train_epochs=1)
    student, contract = fresh_student(config)
    folder = train(student, contract, config, table=table, validation=table)
    found = score_pairs(student, table.left, table.right, represent=True).kinds
    weights = choose_score(found, table.label).weights
    assert read_contract(folder).score == pytest.approx(weights, rel=1e-3)
    predicted = Matcher.from_pretrained(folder).predict(list(zip(table.left, table.right, strict=True)))
    assert predicted == pytest.approx(weighted_sum(found, weights), rel=1e-3, abs=1e-3)
    assert "score = " in (folder / "README.md").read_text()


def test_a_run_that_broke_down_says_so(make_config, table, caplog):
    swapped = PairTable(left=table.left, right=table.right, label=1 - table.label, teacher=table.teacher)
    for validation, said in ((table, False), (swapped, True)):
        config = make_config(num_train_epochs=2, score="answer", output_dir=f"{make_config().output_dir}-{said}")
        student, contract = fresh_student(config)
        caplog.clear()
        train(student, contract, config, table=table, validation=validation)
        assert ("no better than chance on validation" in caplog.text) is said


def test_vectors_that_nothing_trains_cannot_decide(make_config, table):
    config = make_config(score="cosine", objectives={"answer_cross_entropy": 1.0})
    with pytest.raises(ConfigError, match="no objective trains the vectors"):
        run_objectives(config, table, table)


def test_unlabelled_validation_pairs_are_left_out(make_config, table):
    config = make_config(num_train_epochs=1)
    label = table.label.copy()
    label[:30] = -1
    some = PairTable(left=table.left, right=table.right, label=label, teacher=table.teacher)
    student, contract = fresh_student(config)
    folder = train(student, contract, config, table=table, validation=some)
    assert "18 validation pairs" in (folder / "README.md").read_text()


def test_objectives_that_need_what_the_teacher_did_not_give_are_refused(make_config, table):
    none = PairTable(left=table.left, right=table.right, label=table.label)
    with pytest.raises(ConfigError, match="needs a teacher"):
        run_objectives(make_config(), none, none)
    scores = TeacherSignal(score=table.teacher.pair_scores())
    pairs = PairTable(left=table.left, right=table.right, label=table.label, teacher=scores)
    with pytest.raises(ConfigError, match="needs a bi-encoder's vectors"):
        run_objectives(make_config(), pairs, pairs)
    kept = run_objectives(make_config(objectives={"answer_cross_entropy": 1.0, "margin_hinge": 1.0}), pairs, pairs)
    assert [term.name for term in kept] == ["answer_cross_entropy", "margin_hinge"]


def test_what_objectives_are_told_of_the_teacher(make_config, table):
    usual = teacher_facts(make_config(), table, table)
    assert {"theta_pos", "theta_neg", "teacher_std", "teacher_low", "teacher_high", "teacher_slope"} <= usual.keys()
    assert "theta_off_pos" not in usual
    wide = make_config(filter_band=0.5, off_diagonal_quantiles=[0.9, 0.99])
    told = teacher_facts(wide, table, table)
    assert told["theta_pos"] - told["theta_neg"] > usual["theta_pos"] - usual["theta_neg"]
    assert told["theta_off_neg"] < told["theta_off_pos"]
    unfiltered = teacher_facts(wide.model_copy(update={"filter_quantile": None}), table, table)
    assert {name: fact for name, fact in told.items() if name not in ("theta_pos", "theta_neg")} == unfiltered
    [term] = run_objectives(make_config(objectives={"margin_hinge": {"trust": True, "spread": 0.2}}), table, table)
    assert term.function.keywords.items() >= {"trust": True, "teacher_std": usual["teacher_std"]}.items()


def test_the_teacher_is_calibrated_on_pairs_that_it_was_not_fitted_on(table):
    honest = np.linspace(-1, 1, len(table), dtype=np.float32)
    honest[: len(table) // 2] = np.nan
    label = table.label.copy()
    label[-1] = -1
    fitted = replace(table, label=label, teacher=table.teacher.with_out_of_fold(honest))
    rows = np.arange(len(table) // 2, len(table) - 1)
    expected = fit_calibration(honest[rows], label[rows], method="sigmoid")
    assert teacher_calibration(fitted, table) == expected
    own = fit_calibration(table.teacher.pair_scores(), table.label, method="sigmoid")
    assert teacher_calibration(table, table) == own != expected
    one_class = replace(fitted, label=np.where(np.isnan(honest), label, 1))
    assert teacher_calibration(one_class, table) == own, "too few out-of-fold scores of one class"


def test_identity_holds_settings_data_and_environment(make_config):
    identity = identity_of(make_config(), data={"train": "hash"})
    assert identity["config"]["learning_rate"] == 1e-2
    assert identity["data"] == {"train": "hash"}
    assert {"torch", "threads", "device"} <= identity["environment"].keys()


def test_what_is_passed_on_are_settings_and_training_arguments():
    from transformers import TrainingArguments

    assert set(PASSED_ON) <= set(TrainConfig.model_fields)
    assert set(PASSED_ON) <= set(TrainingArguments.__dataclass_fields__)
