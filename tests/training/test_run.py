"""From settings to a finished folder: what is refused, what may change, what stands in the folder."""

import pytest

from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import check_manifest
from flipkd.student.contract import read_contract
from flipkd.student.model import load_student
from flipkd.student.scoring import score_pairs
from flipkd.training.batches import PairTable, TeacherSignal
from flipkd.training.run import PASSED_ON, finished, fresh_student, identity_of, run_objectives, train


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
    (folder / "README.md").write_text("changed")
    with pytest.raises(ArtefactError, match="sha256"):
        finished(config)


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


def test_identity_holds_settings_data_and_environment(make_config):
    identity = identity_of(make_config(), data={"train": "hash"})
    assert identity["config"]["learning_rate"] == 1e-2
    assert identity["data"] == {"train": "hash"}
    assert {"torch", "threads", "device"} <= identity["environment"].keys()


def test_what_is_passed_on_are_settings_and_training_arguments():
    from transformers import TrainingArguments

    assert set(PASSED_ON) <= set(TrainConfig.model_fields)
    assert set(PASSED_ON) <= set(TrainingArguments.__dataclass_fields__)
