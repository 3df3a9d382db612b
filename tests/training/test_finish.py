"""From a trained student to a folder: what decides there, and that it scores as it trained."""

import importlib.util

import pytest

from flipkd.data.pair_table import PairTable
from flipkd.errors import ArtefactError
from flipkd.evaluate import choose_score, weighted_sum
from flipkd.files import check_manifest
from flipkd.matcher import Matcher
from flipkd.student.contract import read_contract
from flipkd.student.loading import load_student
from flipkd.student.scoring import score_pairs
from flipkd.training.finish import finished
from flipkd.training.run import (
    fresh_student,
    run_objectives,
    train,
)


def test_finished_run_leaves_a_sealed_folder_that_scores(make_config, table):
    config = make_config(num_train_epochs=1, template={"question": "\nSame?"})
    assert finished(config) is None
    student, contract = fresh_student(config)
    folder = train(
        student, contract, config, objectives=run_objectives(config, table, table), table=table, validation=table
    )
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


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes: flipkd[bnb]")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_finished_run_over_a_base_in_4_bits_scores_as_it_trained(make_config, table, checkpointing):
    config = make_config(num_train_epochs=1, load_in_4bit=True, activation_checkpointing=checkpointing)
    student, contract = fresh_student(config)
    folder = train(
        student, contract, config, objectives=run_objectives(config, table, table), table=table, validation=table
    )
    assert read_contract(folder).load_in_4bit
    before = score_pairs(student, table.left[:4], table.right[:4], return_embeddings=True)
    assert before.cosine.std() > 0
    for merge in (False, True):
        after = score_pairs(
            load_student(folder, merge=merge)[0], table.left[:4], table.right[:4], return_embeddings=True
        )
        assert after.answer == pytest.approx(before.answer, abs=1e-4)
        assert after.cosine == pytest.approx(before.cosine, abs=1e-4)


@pytest.mark.parametrize("score, kinds", [("answer", {"answer"}), ("cosine", {"cosine"})])
def test_finish_uses_the_score_of_the_setting(make_config, table, score, kinds):
    config = make_config(num_train_epochs=1, score=score)
    student, contract = fresh_student(config)
    folder = train(
        student, contract, config, objectives=run_objectives(config, table, table), table=table, validation=table
    )
    assert set(read_contract(folder).score) == kinds
    found = score_pairs(student, table.left, table.right, return_embeddings=True).kinds[score]
    assert Matcher.from_pretrained(folder).predict(list(zip(table.left, table.right, strict=True))) == pytest.approx(
        found, abs=1e-4
    )


def test_by_itself_the_best_score_on_validation_decides(make_config, table):
    config = make_config(num_train_epochs=1)
    student, contract = fresh_student(config)
    folder = train(
        student, contract, config, objectives=run_objectives(config, table, table), table=table, validation=table
    )
    found = score_pairs(student, table.left, table.right, return_embeddings=True).kinds
    weights = choose_score(found, table.label).weights
    assert read_contract(folder).score == pytest.approx(weights, rel=1e-3)
    predicted = Matcher.from_pretrained(folder).predict(list(zip(table.left, table.right, strict=True)))
    assert predicted == pytest.approx(weighted_sum(found, weights), rel=1e-3, abs=1e-3)
    assert "score = " in (folder / "README.md").read_text()


def test_finish_warns_of_a_student_no_better_than_chance(make_config, table, caplog):
    swapped = PairTable(left=table.left, right=table.right, label=1 - table.label, teacher=table.teacher)
    for validation, said in ((table, False), (swapped, True)):
        config = make_config(num_train_epochs=2, score="answer", output_dir=f"{make_config().output_dir}-{said}")
        student, contract = fresh_student(config)
        caplog.clear()
        train(
            student,
            contract,
            config,
            objectives=run_objectives(config, table, validation),
            table=table,
            validation=validation,
        )
        assert ("no better than chance on validation" in caplog.text) is said


def test_unlabelled_validation_pairs_are_left_out(make_config, table):
    config = make_config(num_train_epochs=1)
    label = table.label.copy()
    label[:30] = -1
    some = PairTable(left=table.left, right=table.right, label=label, teacher=table.teacher)
    student, contract = fresh_student(config)
    folder = train(
        student, contract, config, objectives=run_objectives(config, table, some), table=table, validation=some
    )
    assert "18 validation pairs" in (folder / "README.md").read_text()
