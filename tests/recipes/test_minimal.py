"""recipes/minimal.py: without the package, the same losses, gradients and weights; and a run from files to metrics."""

import ast
import csv
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable, TeacherSignal
from flipkd.evaluate.metrics import measure
from flipkd.student.rows import pad
from flipkd.student.scoring import score_pairs
from flipkd.training.batches import Collator, LengthGroupedRows
from flipkd.training.module import DistillationModule
from flipkd.training.run import TRAINER_FIELDS, fresh_student, run_objectives
from flipkd.training.thresholds import teacher_thresholds
from flipkd.training.trainer import fit

# peft 0.21 asks transformers 5.23 by its old name; the package silences that, a script need not
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
RECIPE = Path(__file__).parents[2] / "recipes" / "minimal.py"
PAIRS = [
    ("my card was stolen yesterday", "the machine kept my card", 0),
    ("can I change the pin of my card", "how do I reset my card pin", 1),
    ("where is my transfer", "where is my transfer", 1),
    ("can I change the pin of my card", "please close my account", 0),  # repeats a left text
    ("where is the money I sent", "where is my transfer", 1),  # repeats a right text, which is also a left text
    ("fee", "I was charged a fee twice", -1),
    ("my card was stolen yesterday", "the machine kept my card", -1),  # a whole pair again, unlabelled
    ("what is the exchange rate today", "<eos> pad pin", 0),  # spells a special token
    ("rate of today", "what is the exchange rate today", 1),
    ("close it", "please " * 140, 0),  # longer than the limit
    ("stolen pin", "Ünïcödé ✓", 0),
    ("account", "the account", 1),
]


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("minimal_recipe", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def vectors(*, sure, seed=1):
    """Text -> a random unit vector; for a `sure` teacher matches lie close together, else all texts do."""
    generator = torch.Generator().manual_seed(seed)
    spread, centre = (1.0, 0.0) if sure else (0.1, 1.0)
    texts = dict.fromkeys(text for left, right, _ in PAIRS for text in (left, right))
    drawn = {text: torch.randn(6, generator=generator) * spread + centre for text in texts}
    for left, right, label in PAIRS:
        if sure and label == 1:
            drawn[left] = drawn[right] + 0.4 * torch.randn(6, generator=generator)
    return {text: torch.nn.functional.normalize(vector, dim=0) for text, vector in drawn.items()}


def table_of(pairs, teacher):
    left, right = (np.stack([teacher[pair[side]].numpy() for pair in pairs]) for side in (0, 1))
    return PairTable(
        left=[a for a, _, _ in pairs],
        right=[b for _, b, _ in pairs],
        label=np.array([label for _, _, label in pairs]),
        teacher=TeacherSignal(left=left, right=right),
    )


def config_for(model, **changes):
    return TrainConfig(
        train_file="-",
        validation_file="-",
        model_name_or_path=str(model),
        dtype="float32",
        report_to="none",
        objectives={"answer_cross_entropy": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0},
        **changes,
    )


def both(recipe, model, *, config=None):
    """The recipe's student and the package's, with the same adapters, B not 0."""
    ours = recipe.load_student(str(model), dtype="float32", device="cpu", seed=0)
    theirs, _ = fresh_student(config or config_for(model))
    generator = torch.Generator().manual_seed(3)
    target = dict(theirs.model.named_parameters())
    assert trainable(theirs.model).keys() == trainable(ours.model).keys()
    with torch.no_grad():
        for name, parameter in trainable(ours.model).items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
            target[name].copy_(parameter)
    return ours, theirs


def trainable(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def scalings(model):
    return [module.scaling["default"] for module in model.modules() if hasattr(module, "lora_A")]


def test_minimal_imports_nothing_of_the_package():
    imported = [
        node for node in ast.walk(ast.parse(RECIPE.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in imported for alias in node.names} | {
        getattr(node, "module", None) for node in imported
    }
    assert not [name for name in names if name and name.split(".")[0] == "flipkd"]


def test_a_fresh_student_is_the_packages(recipe, base_model):
    ours = recipe.load_student(str(base_model), dtype="float32", device="cpu", seed=7)
    theirs, _ = fresh_student(config_for(base_model, seed=7))
    target = trainable(theirs.model)
    assert trainable(ours.model).keys() == target.keys()
    for name, parameter in trainable(ours.model).items():
        assert torch.equal(parameter, target[name]), name
    assert scalings(ours.model) == scalings(theirs.model)


def test_minimal_has_the_prompt_of_the_package(recipe, base_models):
    student, _ = fresh_student(config_for(base_models["llama"]))
    expected = pad(student.prompt.pair_rows([a for a, _, _ in PAIRS], [b for _, b, _ in PAIRS]), padding_id=0)
    ids, kind = recipe.collate(student.prompt.tokenizer, PAIRS, "cpu")
    assert torch.equal(ids, expected["input_ids"])
    assert torch.equal(kind == 1, expected["segment"] == 3)
    assert torch.equal(kind == 2, expected["segment"] == 5)
    assert torch.equal(kind == -1, expected["segment"] == 0)
    assert recipe.label_word_ids(student.prompt.tokenizer) == list(student.prompt.label_ids)
    assert int((kind == 2).sum(1).max()) == 128, "a text must be cut for this to mean anything"


@pytest.mark.parametrize("sure", [True, False])
def test_minimal_has_the_losses_and_gradients_of_the_package(recipe, base_model, sure):
    teacher, config = vectors(sure=sure), config_for(base_model)
    table = table_of(PAIRS, teacher)
    ours, theirs = both(recipe, base_model, config=config)
    thresholds = recipe.dual_threshold(teacher, PAIRS)
    assert thresholds == pytest.approx(
        teacher_thresholds(table.teacher.pair_scores(), table.label, quantile=config.filter_quantile), abs=1e-6
    )
    assert (thresholds[0] - thresholds[1] > 0.1) is sure

    module = DistillationModule(theirs, run_objectives(config, table, table)).train()
    parts = assert_same_losses(recipe, ours, module, PAIRS, teacher, thresholds)
    assert all(part > 0.01 for part in parts.values()), "each part must be at work for this to mean anything"
    target = trainable(theirs.model)
    for name, parameter in trainable(ours.model).items():
        torch.testing.assert_close(parameter.grad, target[name].grad, atol=1e-4, rtol=1e-4, msg=name)
        assert parameter.grad.abs().max() > 1e-3, f"{name} must have a gradient for this to mean anything"


def test_minimal_has_the_losses_of_the_package_for_odd_batches(recipe, base_models):
    teacher, config = vectors(sure=True), config_for(base_models["llama"])
    ours, theirs = both(recipe, base_models["llama"], config=config)
    module = DistillationModule(
        theirs, run_objectives(config, table_of(PAIRS, teacher), table_of(PAIRS, teacher))
    ).train()
    thresholds = recipe.dual_threshold(teacher, PAIRS)
    shared = PAIRS[1]  # both of its texts stand in other pairs too, so that its row has no cell but its own
    lonely = [shared, (shared[0], "fee", 0), ("close it", shared[1], 0)]
    assert assert_same_losses(recipe, ours, module, lonely, teacher, thresholds)["in_batch_kl"] > 0
    assert sum(assert_same_losses(recipe, ours, module, [PAIRS[5]], teacher, thresholds).values()) == 0
    # A cell of the first two pairs is the third pair, turned round, whose label says the opposite of the teacher.
    match, none = (PAIRS[8], PAIRS[0])
    for label, (left, right, _) in ((0, match), (1, none)):
        named = [PAIRS[1], PAIRS[9], (left, "fee", -1), ("close it", right, -1), (right, left, label)]
        assert assert_same_losses(recipe, ours, module, named, teacher, thresholds)["margin_hinge"] > 0
        _, positive, negative = recipe.cells(named, "cpu")
        assert bool((positive, negative)[label == 0][2, 3])


def assert_same_losses(recipe, ours, module, pairs, teacher, thresholds):
    """Both sides' losses on one batch, compared and differentiated; the recipe's are returned as numbers."""
    ours.model.train()
    parts = recipe.losses(ours, teacher, pairs, thresholds)
    total = sum(parts.values())
    total.backward()
    output = module(**Collator(module.student, table_of(pairs, teacher), return_embeddings=True)(range(len(pairs))))
    output["loss"].backward()
    module.recorder.close(1, torch.tensor(1.0))
    expected = module.recorder.drain()
    numbers = {name: part.item() for name, part in parts.items()}
    assert numbers == pytest.approx(expected, abs=1e-5)
    assert total.item() == pytest.approx(output["loss"].item(), abs=1e-5)
    return numbers


def test_minimal_has_the_loop_of_the_trainer(recipe, base_models, tmp_path):
    teacher, model = vectors(sure=True), base_models["llama"]
    config = config_for(model, per_device_train_batch_size=5, learning_rate=1e-2, num_train_epochs=2)
    table = table_of(PAIRS, teacher)
    ours, theirs = both(recipe, model, config=config)
    module = DistillationModule(theirs, run_objectives(config, table, table))
    fit(module, table, output_dir=tmp_path, arguments={name: getattr(config, name) for name in TRAINER_FIELDS})

    lengths = theirs.prompt.pair_lengths([a for a, _, _ in PAIRS], [b for _, b, _ in PAIRS])
    sampler = LengthGroupedRows(lengths, batch_size=5, seed=config.seed)
    batches = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = list(sampler)
        batches += [order[at : at + 5] for at in range(0, len(order), 5)]
    before = {name: parameter.detach().clone() for name, parameter in trainable(ours.model).items()}
    recipe.train(ours, teacher, PAIRS, batches, lr=1e-2)
    target = trainable(theirs.model)
    assert all((parameter - before[name]).abs().max() > 0.01 for name, parameter in trainable(ours.model).items())
    for name, parameter in trainable(ours.model).items():
        torch.testing.assert_close(parameter, target[name], atol=1e-3, rtol=1e-3, msg=name)

    labelled = [pair for pair in PAIRS if pair[2] >= 0]
    scores = score_pairs(theirs, [a for a, _, _ in labelled], [b for _, b, _ in labelled]).answer
    expected = measure(scores, [label for _, _, label in labelled])
    for name, value in recipe.evaluate(ours, PAIRS, batch=4).items():
        assert value == pytest.approx(expected[name])


def test_defaults_are_the_packages(recipe):
    options, default = {}, TrainConfig.model_fields
    tree = ast.parse(RECIPE.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            values = [k.value.value for k in node.keywords if k.arg == "default" and isinstance(k.value, ast.Constant)]
            options |= {node.args[0].value: values[0]} if values else {}
    assert options == {
        "--epochs": default["num_train_epochs"].default,
        "--batch": default["per_device_train_batch_size"].default,
        "--lr": default["learning_rate"].default,
        "--seed": default["seed"].default,
        "--dtype": default["dtype"].default,
    }


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tiny import build_tokenizer
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder / "bert")
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder / "bert")
    model = SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(16)], device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def write_csv(path, pairs):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text1", "text2", "label"])
        writer.writerows([(a, b, "" if label < 0 else label) for a, b, label in pairs])
    return str(path)


def test_minimal_runs_from_files_to_metrics(recipe, base_models, teacher_folder, tmp_path, capsys):
    kinds = ("card", "fee", "rate", "transfer")
    words = [(f"my {kinds[i % 4]} {i}", f"the {kinds[(i + (i // 4) % 2 * (1 + i % 3)) % 4]} {i}") for i in range(24)]
    pairs = [(a, b, int(a.split()[1] == b.split()[1])) for a, b in words]
    files = ["--train", write_csv(tmp_path / "a.csv", [*pairs[:23], (*pairs[23][:2], -1)])]
    files += ["--validation", write_csv(tmp_path / "b.csv", pairs)]
    options = ["--epochs", "2", "--batch", "6", "--lr", "0.005", "--dtype", "float32", "--device", "cpu"]
    metrics, history = recipe.main(
        [*files, "--model", str(base_models["llama"]), "--teacher", str(teacher_folder), *options]
    )
    assert len(history) == 8
    assert all(math.isfinite(value) for value in [*history, *metrics.values()])
    assert sum(history[4:]) < sum(history[:4])
    assert 0 < metrics["f1"] <= 1
    assert 0 < metrics["average_precision"] <= 1
    assert "validation f1" in capsys.readouterr().out


def test_minimal_refuses_an_empty_text(recipe, tmp_path):
    with pytest.raises(SystemExit, match="empty"):
        recipe.read_pairs(write_csv(tmp_path / "a.csv", [("a", " ", 1)]))


def test_minimal_dual_threshold_refuses_one_class_alone(recipe):
    with pytest.raises(SystemExit, match="both classes"):
        recipe.dual_threshold(vectors(sure=True), [pair for pair in PAIRS if pair[2] != 0])
