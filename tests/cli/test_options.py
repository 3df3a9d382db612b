"""Options from settings models: one per field, and the parsing of their texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import get_args

import pytest
import typer
from command_line import flipkd, subcommands

from flipkd.cli.options import SettingsCommand, command
from flipkd.command_config import CheckConfig, SearchConfig
from flipkd.config import CompareConfig, TrainConfig
from flipkd.settings import Settings

VERBS = subcommands()
FILES = ("--train_file", "a.csv", "--validation_file", "b.csv")


def built(model, *arguments):
    """The settings that a command line of these words gives."""
    seen = []

    def run(config: model) -> None:
        """Keep the settings."""
        seen.append(config)

    run.__annotations__["config"] = model
    app = typer.Typer()
    app.command(cls=SettingsCommand)(command(run))
    made = typer.main.get_command(app)
    with made.make_context("run", [str(argument) for argument in arguments]) as context:
        made.invoke(context)
    return seen[0]


def train(*arguments):
    return built(TrainConfig, *FILES, *arguments)


@pytest.mark.parametrize("verb", VERBS)
def test_command_makes_an_option_or_argument_of_every_field(verb):
    parameters = {parameter.name: parameter for parameter in VERBS[verb].params}
    settings = VERBS[verb].settings
    assert issubclass(settings, Settings)
    for name, field in settings.model_fields.items():
        assert parameters[name].help.startswith(field.description[:20].replace("[", "\\[")), name
        assert parameters[name].param_type_name == "argument" or parameters[name].opts == [f"--{name}"], name
        assert not parameters[name].required, "a YAML file may give it"
    own = {"config", "assignments", "as_json", "num_processes"}
    off = {name for name in parameters if name.startswith("no_")}
    assert set(parameters) - set(settings.model_fields) - off <= own
    assert {name.removeprefix("no_") for name in off} == {
        name for name, field in settings.model_fields.items() if field.annotation in (bool, bool | None)
    }


def text_of(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@pytest.mark.parametrize("name", [name for name, field in TrainConfig.model_fields.items() if field.default])
def test_option_parses_the_default_as_shown_in_help(name):
    default = TrainConfig.model_fields[name].get_default()
    if default is True or name in ("train_file", "validation_file"):
        return
    texts = [f"{key}={value}" for key, value in default.items()] if isinstance(default, dict) else [text_of(default)]
    given = [argument for text in texts for argument in (f"--{name}", text)]
    assert getattr(train(*given), name) == default


def test_set_overrides_the_option_and_the_option_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 1\nlora_r: 1\nsave_steps: 1\ndirected: true\nlogging_steps: 3\n")
    given = ("--config", tmp_path / "run.yaml", "--lora_r", 64, "--save_steps", 2, "--set", "save_steps=5")
    found = train(*given, "--no-directed", "--learning_rate", "1e-4")
    assert (found.seed, found.lora_r, found.save_steps, found.directed) == (1, 64, 5, False)
    assert (found.logging_steps, found.learning_rate, found.lora_alpha) == (3, 1e-4, 32)


@pytest.mark.parametrize(
    "arguments, name, value",
    [
        (["--readout_layers", "-1,3"], "readout_layers", [-1, 3]),
        (["--readout_layers", "-1", "--readout_layers", "3"], "readout_layers", [-1, 3]),
        (["--readout_layers", "[-1, 3]"], "readout_layers", [-1, 3]),
        (["--readout_layers", "0"], "readout_layers", [0]),
        (["--lora_target_modules", "all-linear"], "lora_target_modules", "all-linear"),
        (["--lora_target_modules", "q_proj"], "lora_target_modules", ["q_proj"]),
        (["--lora_target_modules", "q_proj, v_proj"], "lora_target_modules", ["q_proj", "v_proj"]),
        (["--report_to", "tensorboard"], "report_to", "tensorboard"),
        (["--report_to", "a,b"], "report_to", ["a", "b"]),
        (["--off_diagonal_quantiles", "0.95,0.999"], "off_diagonal_quantiles", [0.95, 0.999]),
        (["--filter_quantile", "null"], "filter_quantile", None),
        (["--keep_teacher", "auto"], "keep_teacher", "auto"),
        (["--keep_teacher", "false"], "keep_teacher", False),
        (["--load_in_4bit"], "load_in_4bit", True),
        (["--output_dir", "2024-01-02"], "output_dir", "2024-01-02"),
        (["--output_dir=no"], "output_dir", "no"),
        (["--columns", "text1=a=b", "--columns", "text2=c"], "columns", {"text1": "a=b", "text2": "c"}),
        (["--columns", "{text1: a}"], "columns", {"text1": "a"}),
        (["--template.no", "no", "--template.question=a = b?"], "template", {"no": "no", "question": "a = b?"}),
        (["--training_arguments.adam_epsilon", "1e-8"], "training_arguments", {"adam_epsilon": 1e-8}),
        (["--objectives", "{margin_hinge: 1}"], "objectives", {"margin_hinge": 1}),
    ],
)
def test_option_texts_are_parsed_by_the_type_of_the_field(arguments, name, value):
    assert getattr(train(*arguments), name) == value


def test_dotted_option_changes_one_key_of_a_mapping():
    default = TrainConfig.model_fields["objectives"].default
    for arguments in (["--objectives.in_batch_kl", "0"], ["--objectives", "in_batch_kl=0"]):
        assert train(*arguments).objectives == default | {"in_batch_kl": 0}
    found = train("--objectives.margin_hinge.margin", "0.3", "--objectives.bernoulli_kd=2").objectives
    assert found == default | {"margin_hinge": {"weight": 1.0, "margin": 0.3}, "bernoulli_kd": 2}


def test_compare_parses_nested_settings_by_their_types():
    found = built(
        CompareConfig,
        *FILES,
        *("--test_file", "c.csv", "--seeds", "0,1", "--train.lora_target_modules", "q_proj", "--train.lora_r", 64),
        *("--train.objectives.margin_hinge", "0.5", "--teach.prompt", "query: ", "--teach.fine_tune", "auto"),
        *("--variants.slow", "system=plain,learning_rate=2e-4", "--systems", "plain,slow"),
    )
    objectives = TrainConfig.model_fields["objectives"].default | {"margin_hinge": 0.5}
    assert found.train == {"lora_target_modules": ["q_proj"], "lora_r": 64, "objectives": objectives}
    assert found.teach == {"prompt": "query: ", "fine_tune": "auto"}
    assert (found.seeds, found.systems) == ([0, 1], ["plain", "slow"])
    assert found.variants == {"slow": ["system=plain", "learning_rate=2e-4"]}


def test_run_with_settings_does_not_parse_arguments():
    assert built(CheckConfig, "a,b.csv", "[c].csv").files == ["a,b.csv", "[c].csv"]
    assert built(SearchConfig, "[1, 2]", "--matcher", "m", "--index", "i").query == "[1, 2]"


def test_split_dotted_options_keeps_arguments_after_two_dashes():
    search = VERBS["search"]
    with search.make_context("search", ["--matcher", "m", "--index", "i", "--", "--columns.x"]) as context:
        assert context.params["query"] == "--columns.x"


def test_help_shows_choices_and_panels():
    reading = next(parameter for parameter in VERBS["train"].params if parameter.name == "reading")
    assert reading.type_descriptor.choices == get_args(TrainConfig.model_fields["reading"].annotation)
    shown = flipkd("train", "--help").out
    panels = re.findall(r"─ (\w+) ─", shown)
    assert panels == ["Options", "Data", "Model", "LoRA", "Objectives", "Training"]
    assert "pip install" not in shown
    assert "flipkd[bnb]" in re.sub(r"[\s│]", "", shown), "brackets are no markup"


COMPLETE = """
import json, os, sys
from flipkd.cli import main
for request in json.loads(sys.argv.pop()):
    os.environ.update(request)
    try: main()
    except SystemExit as stop: assert not stop.code
    print(end=chr(0))
assert "torch" not in sys.modules
"""


def completed(*lines: str) -> list[list[str]]:
    """What the shell is offered after each line, and at last the script that sets completion up; in one process."""
    requests = [
        {"_FLIPKD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))} for line in lines
    ]
    given = json.dumps([*requests, {"_FLIPKD_COMPLETE": "source_bash"}])
    done = subprocess.run([sys.executable, "-c", COMPLETE, given], capture_output=True, text=True, check=True)
    return [text.split() for text in done.stdout.split("\0")[:-1]]


def test_completion_offers_commands_options_and_choices():
    verbs, options, choices, script = completed("flipkd cal", "flipkd train --lora_", "flipkd train --reading j")
    assert verbs == ["calibrate"]
    assert options == [f"--lora_{name}" for name in ("r", "alpha", "dropout", "target_modules", "layers")]
    assert choices == ["joint"]
    assert "complete -o default -F" in " ".join(script)
