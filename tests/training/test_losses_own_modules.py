"""Objectives with parameters, lists and hidden states: trained, saved and resumed, and no cost for those without."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import make_table, randomise

from flipkd.artefacts import load_lock
from flipkd.data.pair_table import PairTable
from flipkd.errors import ConfigError
from flipkd.student.rows import last_positions
from flipkd.training.batches import Collator
from flipkd.training.health_checks import HealthChecks
from flipkd.training.losses import (
    build_objectives,
    has_parameters,
    needs_of,
    resolve_objectives,
    run_facts,
    training_values,
)
from flipkd.training.module import DistillationModule
from flipkd.training.run import fresh_student, run_objectives, train
from flipkd.training.trainer import fit

DEFAULT = {"answer_cross_entropy": 1.0, "pairwise_pref_kl": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0}
OWN = {"answer_cross_entropy": 1.0, "ckd_info_nce": {"chunks": 2}, "norm_direction": 0.5, "lelp_subclass": 0.5}
FACTS = {"theta_pos": 0.5, "theta_neg": 0.0}


def module_of(config, table, **settings):
    return DistillationModule(fresh_student(config)[0], run_objectives(config, table, table), table=table, **settings)


def test_a_run_with_own_modules_resumes_bit_for_bit(make_config, table, tmp_path):
    config = make_config(objectives=OWN)
    arguments = {"max_steps": 6, "save_steps": 3, "report_to": "none", "disable_tqdm": True}

    def finished(folder, queue_size=5):
        module = module_of(config, table, queue_size=queue_size, average_weights=0.5)
        fit(module, table, output_dir=folder, arguments=arguments)
        return {name: tensor.clone() for name, tensor in module.state_dict().items()}

    before = {name: tensor.clone() for name, tensor in module_of(config, table).state_dict().items()}
    whole = finished(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "part" / "checkpoint-3")
    part = finished(tmp_path / "part")
    assert whole.keys() == part.keys()
    assert all(torch.equal(tensor, part[name]) for name, tensor in whole.items())
    saved = load_file(tmp_path / "whole" / "checkpoint-3" / "model.safetensors")
    own = {name for name in saved if name.startswith("own_modules.")}
    assert own == {
        "own_modules.0.projection.weight",
        "own_modules.0.log_scale",
        "own_modules.1.projection.weight",
        "own_modules.1.means",
        "own_modules.2.head.weight",
        "own_modules.2.head.bias",
        "own_modules.2.centres",
        "own_modules.2.directions",
    }
    buffers = {"own_modules.1.means", "own_modules.2.centres", "own_modules.2.directions"}
    changed = {name for name in own if not torch.equal(whole[name], before[name])}
    assert changed == own - buffers


def test_the_matcher_has_nothing_of_own_modules(make_config, table):
    folders = []
    for name, objectives in (("own", OWN), ("plain", {"answer_cross_entropy": 1.0, "in_batch_kl": 1.0})):
        config = make_config(objectives=objectives, num_train_epochs=1)
        config = config.model_copy(update={"output_dir": f"{config.output_dir}-{name}"})
        objectives = run_objectives(config, table, table)
        folders.append(train(*fresh_student(config), config, objectives=objectives, table=table, validation=table))
    own, plain = ({str(path.relative_to(folder)) for path in Path(folder).rglob("*")} for folder in folders)
    assert own == plain
    for name in ("readout.safetensors", "adapter/adapter_model.safetensors"):
        if name in own:
            assert load_file(folders[0] / name).keys() == load_file(folders[1] / name).keys()


def test_own_modules_depend_on_the_seed_alone_and_leave_the_random_state(make_student, table):
    student, _ = make_student()
    terms = resolve_objectives(OWN, teacher_facts=FACTS)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = DistillationModule(student, terms, table=table, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    same, other = (DistillationModule(student, terms, table=table, seed=seed) for seed in (1, 2))
    for (name, first), second, third in zip(
        one.own_modules.named_parameters(), same.own_modules.parameters(), other.own_modules.parameters(), strict=True
    ):
        assert torch.equal(first, second), name
        assert name.endswith("log_scale") or not torch.equal(first, third), name


def test_build_objectives_with_parameters_does_not_change_the_others(make_student, table):
    losses = []
    for more in ({}, {"embed_align": 1e-9}):
        student, _ = make_student()
        terms = resolve_objectives(DEFAULT | more, teacher_facts=FACTS)
        module = DistillationModule(randomise(student), terms, table=table).train()
        module(**Collator(student, table, return_embeddings=True)(list(range(12))))
        module.recorder.close(1, torch.tensor(1.0))
        losses.append(module.recorder.drain())
    assert {name: losses[1][name] for name in losses[0]} == losses[0]


def test_distillation_module_needs_no_lists_or_layers_for_the_default_objectives(make_student, table, monkeypatch):
    student, _ = make_student()
    terms = resolve_objectives(DEFAULT, teacher_facts=FACTS)
    module = DistillationModule(student, terms).train()  # no table either
    assert module.needs == {"answers", "vectors", "teacher", "grid"}
    assert not list(module.own_modules.parameters())
    assert all("lora_" in name for name in module.state_dict())
    batch = Collator(student, table, return_embeddings=True)(list(range(8)))
    assert not {"list_id", "layer_states"} & batch.keys()
    decoder, asked = student.language_model.get_decoder(), []
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda **given: asked.append(set(given)) or forward(**given))
    module(**batch)
    assert asked
    assert all("output_hidden_states" not in given for given in asked)


def test_training_values_share_the_memory_of_the_table(table):
    values = training_values(table)
    assert values.teacher_left.data_ptr() == table.teacher.left.ctypes.data
    assert values.label.tolist() == table.label.tolist()
    alone = training_values(PairTable(left=table.left, right=table.right, label=table.label))
    assert alone.present == ["label"]


def test_needs_of_objectives_with_parameters_lists_and_layers():
    found = {
        name: resolve_objectives({name: 1.0}, teacher_facts={})[0].needs
        for name in ("embed_align", "pair_head_kd", "list_softmax", "layer_score_kd")
    }
    assert found == {
        "embed_align": {"vectors", "teacher", "grid"},
        "pair_head_kd": {"vectors", "teacher"},
        "list_softmax": {"answers", "lists"},
        "layer_score_kd": {"teacher", "layers"},
    }
    [term] = resolve_objectives({"layer_score_kd": {"layers": [20, -3]}}, teacher_facts={})
    assert has_parameters(term.function)
    assert needs_of(term.function) == term.needs


def test_resolve_objectives_checks_settings_of_a_class_and_refuses_those_of_the_run():
    with pytest.raises(ConfigError, match="did you mean 'chunks'"):
        resolve_objectives({"ckd_info_nce": {"chunk": 2}}, teacher_facts={})
    with pytest.raises(ConfigError, match="no setting 'student_width'"):
        resolve_objectives({"ckd_info_nce": {"student_width": 2}}, teacher_facts={})
    with pytest.raises(ConfigError, match="chunks=0"):
        resolve_objectives({"ckd_info_nce": {"chunks": 0}}, teacher_facts={})


def test_distillation_module_needs_the_table_for_an_objective_with_parameters(make_student):
    student, _ = make_student()
    with pytest.raises(ValueError, match="needs the table"):
        DistillationModule(student, resolve_objectives({"embed_align": 1.0}, teacher_facts={}))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_student_layers_are_the_states_of_each_layer_at_the_token_of_the_answer(make_student, table, family):
    student, _ = make_student(family)
    batch = student.collate(table.left[:5], table.right[:5], return_embeddings=False)
    reading = student(batch, return_embeddings=False, return_layers=True)
    assert torch.equal(reading.answers, student(batch, return_embeddings=False).answers)
    model = student.language_model
    last = last_positions(batch["segment"])
    states = model.get_decoder()(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], output_hidden_states=True, use_cache=False
    ).hidden_states
    assert reading.layers.shape == (5, model.config.num_hidden_layers, model.config.hidden_size)
    for layer, state in enumerate(states[1:]):
        torch.testing.assert_close(reading.layers[:, layer], state[torch.arange(5), last])


def test_layer_score_kd_trains_alone_and_reaches_the_early_layers(make_config, table, tmp_path):
    config = make_config(objectives={"layer_score_kd": 1.0})
    module = module_of(config, table)
    assert not module.return_embeddings
    assert not HealthChecks(module).without_gradient
    arguments = {"max_steps": 12, "save_steps": 99, "report_to": "none", "disable_tqdm": True}
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fit(module, table, output_dir=tmp_path, arguments=arguments)
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any("layers.0." in name for name in changed)
    assert not any("layers.2." in name for name in changed), "the last layer is not read by default"
    assert {"own_modules.0.weight", "own_modules.0.bias"} <= changed


def lists_of_batches(table, objectives, make_config, tmp_path):
    config, seen = make_config(objectives=objectives), []
    module = module_of(config, table)
    forward = module.forward
    module.forward = lambda **batch: seen.append(batch) or forward(**batch)
    arguments = {"max_steps": 6, "report_to": "none", "disable_tqdm": True, "per_device_train_batch_size": 8}
    fit(module, table, output_dir=tmp_path / "-".join(objectives), arguments=arguments)
    return seen


def test_train_with_lists_reads_the_pairs_of_a_query_together(make_config, tmp_path):
    table = make_table()
    queries = [table.left[row // 4] for row in range(len(table))]  # each first text has four pairs
    queries = [f"{text} {row // 4}" for row, text in enumerate(queries)]
    table = PairTable(left=queries, right=table.right, label=table.label, teacher=table.teacher)
    kept = lists_of_batches(table, {"list_softmax": 1.0, "list_kl": 1.0}, make_config, tmp_path)
    assert sorted(row for batch in kept for row in batch["row"].tolist()) == list(range(48))
    for batch in kept:
        counts = np.unique(batch["row"].numpy() // 4, return_counts=True)[1]
        assert counts.tolist() == [4, 4]
        assert len(set(batch["list_id"].tolist())) == 2
    mixed = lists_of_batches(table, {"answer_cross_entropy": 1.0}, make_config, tmp_path)
    assert "list_id" not in mixed[0]
    assert any(np.unique(batch["row"].numpy() // 4, return_counts=True)[1].max() < 4 for batch in mixed)


def test_train_refuses_lists_of_one_pair_each(make_config, tmp_path):
    table = make_table()
    alone = PairTable(
        left=[f"{text} {row}" for row, text in enumerate(table.left)],
        right=table.right,
        label=table.label,
        teacher=table.teacher,
    )
    with pytest.raises(ConfigError, match="list_kl: compares the pairs of one query, and no two"):
        lists_of_batches(alone, {"answer_cross_entropy": 1.0, "list_kl": 1.0}, make_config, tmp_path)


def test_collator_gives_a_swapped_pair_the_list_of_its_first_text_in_the_table(make_student, table):
    student, _ = make_student()
    collator = Collator(student, table, return_embeddings=True, return_lists=True)
    rows = [3, 7]
    straight, swapped = collator(rows), collator([row + len(table) for row in rows])
    assert straight["list_id"].tolist() == swapped["list_id"].tolist() == collator.left_id[rows].tolist()
    assert swapped["left_id"].tolist() == collator.right_id[rows].tolist()


def test_build_objectives_waits_for_a_thread_that_loads_a_model(make_student, table):
    """transformers sets torch's default dtype while it loads; the parameters of an objective must not get that of the model."""
    terms = resolve_objectives({"embed_align": 1.0}, teacher_facts=FACTS)
    facts, begun = run_facts(make_student()[0], table), threading.Event()

    def load():
        with load_lock():
            torch.set_default_dtype(torch.bfloat16)
            begun.set()
            time.sleep(0.1)
            torch.set_default_dtype(torch.float32)

    loading = threading.Thread(target=load)
    loading.start()
    begun.wait()
    [objective] = build_objectives(terms, lambda: facts, seed=0)
    loading.join()
    assert {parameter.dtype for parameter in objective.parameters()} == {torch.float32}
