"""From settings to a finished folder: what is refused, what may change, what stands in the folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flipkd.cards.matcher_card import LearnedFrom
from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable, TeacherSignal
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.student.scoring import score_pairs
from flipkd.training.run import (
    TRAINER_FIELDS,
    fresh_student,
    identity_of,
    learned_from,
    run_objectives,
    train,
    trainer_arguments,
)
from flipkd.training.thresholds import teacher_calibration, teacher_facts


def test_swap_texts_reads_each_pair_in_both_orders(make_config, table):
    config = make_config(num_train_epochs=2, swap_texts=True)
    student, contract = fresh_student(config)
    collate, read = student.collate, []

    def noted(left, right, **more):
        read.extend(zip(left, right, strict=True))
        return collate(left, right, **more)

    student.collate = noted
    train(student, contract, config, objectives=run_objectives(config, table, table), table=table, validation=table)
    ours, turned = (list(zip(*sides, strict=True)) for sides in ((table.left, table.right), (table.right, table.left)))
    assert sorted(read) == sorted([*ours, *turned])
    first = read[: len(table)]
    assert len(set(first) & set(ours)) > 10 < len(set(first) & set(turned))


@pytest.mark.slow
def test_order_consistency_reads_both_orders_in_a_step_and_makes_the_answers_agree(make_config, table):
    def gap(weight):
        config = make_config(
            num_train_epochs=4, objectives={"answer_cross_entropy": 1.0, "order_consistency": weight}, lora_dropout=0.0
        ).model_copy(update={"output_dir": f"{make_config().output_dir}-{weight}"})
        student, contract = fresh_student(config)
        objectives = run_objectives(config, table, table)
        train(student, contract, config, objectives=objectives, table=table, validation=table)
        answers = [
            score_pairs(student, *sides).answer for sides in ((table.left, table.right), (table.right, table.left))
        ]
        logged = [json.loads(line) for line in (Path(config.output_dir) / "metrics.jsonl").read_text().splitlines()]
        assert logged[-1]["step"] == 4 * 6, "as many steps as without"
        return float(np.abs(answers[0] - answers[1]).mean()), [line.get("order_consistency") for line in logged[:-1]]

    without, nothing = gap(0)
    consistent, losses = gap(3.0)
    assert set(nothing) == {None}
    assert all(loss > 0 for loss in losses)
    assert consistent < 0.5 * without


@pytest.mark.parametrize("setting", [1.0, {"weight": 0.5}, {}])
def test_order_consistency_is_refused_for_directed_pairs_swapped_texts_and_an_odd_step(make_config, table, setting):
    objectives = {"answer_cross_entropy": 1.0, "order_consistency": setting}
    with pytest.raises(ConfigError, match="order_consistency is for pairs without a direction"):
        make_config(directed=True, objectives=objectives)
    with pytest.raises(ConfigError, match="already reads each pair in both orders"):
        make_config(swap_texts=True, objectives=objectives)
    assert make_config(swap_texts=True, objectives=objectives | {"order_consistency": 0}).swap_texts
    with pytest.raises(ConfigError, match="give an even number"):
        run_objectives(make_config(per_device_train_batch_size=7, objectives=objectives), table, table)


def test_learned_from_has_the_teacher_only_if_an_objective_reads_its_outputs(make_config, table):
    label = table.label.copy()
    label[:5] = -1
    some = replace(table, label=label)
    source = {"kind": "bi_encoder", "name": "bi", "licence": None}
    taught = run_objectives(make_config(), some, table)
    plain = run_objectives(make_config(objectives={"answer_cross_entropy": 1.0}), some, table)
    assert learned_from(taught, some, source) == LearnedFrom(len(table) - 5, 5, source)
    assert learned_from(taught, some, None) == LearnedFrom(len(table) - 5, 5, {})
    assert learned_from(plain, some, source) == LearnedFrom(len(table) - 5, 5, None)


def test_fresh_student_refuses_a_readout_off_the_path(make_config):
    places = {"readout_modules": ["o_proj"], "readout_layers": [-1]}
    with pytest.raises(ConfigError, match="cannot reach the answer"):
        fresh_student(make_config(**places, allow_readout_off_path=False))
    _, contract = fresh_student(make_config(**places, allow_readout_off_path=True))
    assert contract.readout_places == ["model.layers.2.self_attn.o_proj"]


def test_run_objectives_refuses_score_cosine_without_trained_embeddings(make_config, table):
    config = make_config(score="cosine", objectives={"answer_cross_entropy": 1.0})
    with pytest.raises(ConfigError, match="no objective trains the embeddings"):
        run_objectives(config, table, table)


def test_run_objectives_refuses_objectives_without_their_teacher_values(make_config, table):
    none = PairTable(left=table.left, right=table.right, label=table.label)
    with pytest.raises(ConfigError, match="needs a teacher"):
        run_objectives(make_config(), none, none)
    scores = TeacherSignal(score=table.teacher.pair_scores())
    pairs = PairTable(left=table.left, right=table.right, label=table.label, teacher=scores)
    with pytest.raises(ConfigError, match="needs the embeddings of a bi-encoder"):
        run_objectives(make_config(), pairs, pairs)
    kept = run_objectives(make_config(objectives={"answer_cross_entropy": 1.0, "margin_hinge": 1.0}), pairs, pairs)
    assert [term.name for term in kept] == ["answer_cross_entropy", "margin_hinge"]


def test_teacher_facts_have_thresholds_spread_and_calibration(make_config, table):
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


def test_settings_without_effect_are_told(make_config, table, caplog):
    run_objectives(make_config(filter_band=0.2, queue_size=20), table, table)
    assert not caplog.text
    run_objectives(make_config(filter_quantile=None, filter_band=0.2), table, table)
    assert "filter_band=0.2 has no effect without filter_quantile" in caplog.text
    caplog.clear()
    run_objectives(make_config(queue_size=20, objectives={"bernoulli_kd": 1.0}), table, table)
    assert "queue_size=20 has no effect" in caplog.text
    caplog.clear()
    labels_alone = PairTable(left=table.left, right=table.right, label=table.label)
    run_objectives(make_config(queue_size=20, objectives={"info_nce": 1.0}), labels_alone, labels_alone)
    assert "queue_size=20 has no effect" in caplog.text
    caplog.clear()
    run_objectives(make_config(per_device_train_batch_size=1), table, table)
    assert "per_device_train_batch_size=1: pairwise_pref_kl, margin_hinge, in_batch_kl compare" in caplog.text


def test_teacher_calibration_uses_out_of_fold_scores(table):
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


def test_identity_of_has_settings_data_and_environment(make_config):
    identity = identity_of(make_config(), data={"train": "hash"})
    assert identity["config"]["learning_rate"] == 1e-2
    assert identity["data"] == {"train": "hash"}
    assert {"torch", "threads", "device"} <= identity["environment"].keys()


def test_trainer_fields_are_settings_and_training_arguments():
    from transformers import TrainingArguments

    assert set(TRAINER_FIELDS) <= set(TrainConfig.model_fields)
    assert set(TRAINER_FIELDS) <= set(TrainingArguments.__dataclass_fields__)


@pytest.mark.parametrize("name", ["seed", "save_total_limit", "per_device_train_batch_size"])
def test_a_setting_of_flipkd_cannot_be_set_a_second_time_as_a_training_argument(make_config, name):
    """With select_checkpoint=best a second save_total_limit would delete the best checkpoint."""
    with pytest.raises(ConfigError, match=rf"training_arguments.{name} cannot be set: {name} is a setting"):
        trainer_arguments(make_config(training_arguments={name: 3}, select_checkpoint="best"))


def test_train_minimises_the_objectives_that_it_is_given(make_config, table):
    config = make_config(num_train_epochs=1, logging_steps=1)
    objectives = [term for term in run_objectives(config, table, table) if term.name == "answer_cross_entropy"]
    student, contract = fresh_student(config)
    train(student, contract, config, objectives=objectives, table=table, validation=table)
    first = (Path(config.output_dir) / "metrics.jsonl").read_text().splitlines()[0]
    assert "answer_cross_entropy" in first
    assert "margin_hinge" not in first
    assert "margin_hinge" in config.objectives
