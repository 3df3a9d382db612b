"""The words of the project against the project: links, commands, settings, knobs, names and tables of README and docs."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import test_architecture
import torch
import yaml
from command_line import subcommands

import flipkd
from flipkd import config, errors
from flipkd.data.columns import OTHER_ALIASES, TEXT_ALIASES
from flipkd.models import packaged_models
from flipkd.objectives import OBJECTIVES, MatchBatch

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
VERBS = subcommands()
GROUPS = {name.split()[0] for name in VERBS if " " in name}
SETTINGS = {"teach": config.TeachConfig, "train": config.TrainConfig, "compare": config.CompareConfig}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GIVEN_BY_THE_RUN = {
    "theta_pos": "from `filter_quantile`",
    "theta_neg": "from `filter_quantile`",
    "teacher_slope": "from validation",
    "teacher_intercept": "from validation",
    "theta_off_pos": "from `off_diagonal_quantiles`",
    "theta_off_neg": "from `off_diagonal_quantiles`",
    "teacher_std": "from training",
    "teacher_low": "from training",
    "teacher_high": "from training",
}


@dataclass(frozen=True)
class Fence:
    """One block of code in a page."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.text.strip().splitlines()[0][:50]}"


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(*languages: str) -> list[Fence]:
    found = []
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                found.append(Fence(page.relative_to(ROOT).as_posix(), language, text))
    return found


def commands() -> list[tuple[Fence, list[str]]]:
    """Every `flipkd ...` command of the shell fences, as words."""
    found = []
    for fence in fences("sh"):
        for line in fence.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[2:] if words[:2] == ["python", "-m"] else words
            if words[:1] == ["flipkd"]:
                end = next((i for i, word in enumerate(words) if word in (">", "|", "&&")), len(words))
                found.append((fence, words[1:end]))
    return found


def top_level(module: str) -> dict[str, ast.stmt]:
    """Names of a module and the statement that makes each, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"no module {module}"
    assert spec.origin is not None
    names: dict[str, ast.stmt] = {}
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name: node for alias in node.names}
    if "__all__" in names:
        names |= dict.fromkeys(ast.literal_eval(names["__all__"].value), names["__all__"])
    return names


def knobs_of(objective: str) -> dict[str, Any]:
    """Keyword-only arguments of an objective and their defaults (None: no default)."""
    from flipkd.tables import pick
    from flipkd.training.losses import settings_of

    function = pick(OBJECTIVES, objective, what="objective")
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    return {
        name: None if defaults[name] is inspect.Parameter.empty else defaults[name] for name in settings_of(function)
    }


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {heading}"
    return found[1]


def slugs(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (page.parent / name if name else page), anchor


def failures(check: Callable[..., None], cases: Iterable[tuple[object, ...]]) -> list[str]:
    """Run `check(*case)` on all cases; the name of each that fails (its first member) and why."""
    found = []
    for case in cases:
        try:
            check(*case)
        except Exception as error:
            found.append(f"{case[0]}: {type(error).__name__}: {error}")
    return found


# Links and pages


def test_every_relative_link_leads_somewhere():
    broken = [
        f"{page.name}: {target}#{anchor}"
        for page in PAGES
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in slugs(target.read_text(encoding="utf-8")))
    ]
    assert broken == []


def test_the_index_links_every_page():
    linked = {target.name for target, _ in links(ROOT / "docs" / "index.md")}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"index.md"}


def script(name):
    """Import a script of docs/, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_help_of_the_verbs_is_up_to_date():
    page = script("cli_page")
    assert text_of("docs/cli.md") == page.page(), "run: python docs/cli_page.py"
    assert all(f"\n## flipkd {verb}\n" in text_of("docs/cli.md") for verb in VERBS)


def test_the_memory_table_is_what_the_function_says():
    page = script("gpu_page")
    text = text_of("docs/gpu.md")
    assert page.page(text) == text, "run: python docs/gpu_page.py"
    assert text.count("| Qwen2.5-7B ") == len(page.SWITCHES)


def test_the_table_of_clients_is_what_their_tests_call():
    page = script("clients_page")
    text = text_of("docs/serve.md")
    assert page.page(text) == text, "run: python docs/clients_page.py"
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "clients").glob("test_*.py")}
    assert tested == set(page.PACKAGES)
    assert all(page.calls(name) and all(page.calls(name)) for name in tested), "each test has a docstring: its call"


def test_the_figures_of_exports_are_the_measured_ones():
    page = script("export_page")
    assert page.page() == text_of("docs/export.md"), "run: python docs/export_page.py"


# Commands and settings


def test_every_command_is_one_that_flipkd_takes():
    assert failures(check_command, commands()) == []


def check_command(_fence: Fence, words: list[str]) -> None:
    verb, *arguments = [word for word in words if word not in ("--debug", "--verbose")]
    if verb == "VERB":
        assert arguments == ["--help"]
        return
    if verb not in VERBS:
        verb, *arguments = f"{verb} {arguments[0]}", *arguments[1:]
    command = VERBS[verb]
    names = ["-h", "--help"]  # as the group has them: the command keeps its first ones, and other tests use it
    with command.make_context(f"flipkd {verb}", arguments, help_option_names=names) as context:
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in context.params.items()}
    settings = command.settings
    assignments = given.pop("assignments") or ()
    if given.pop("config"):  # the file is not here, and may hold what the command leaves out
        given |= {name: name for name, field in settings.model_fields.items() if field.is_required()}
    given = {name: value for name, value in given.items() if name in settings.model_fields and value != []}
    built = settings.build(None, assignments, given)
    check_objectives(built.objectives if verb == "train" else {})


def check_objectives(chosen: dict[str, Any]) -> None:
    for name, knobs in chosen.items():
        if ":" in name:
            continue
        assert name in OBJECTIVES
        assert not isinstance(knobs, dict) or set(knobs) <= {"weight", *knobs_of(name)}


def test_commands_are_found():
    shown = {" ".join(words[: 1 + (words[0] not in VERBS)]) for _, words in commands()}
    assert shown >= set(VERBS) - {"demo"}


def test_every_assignment_names_a_setting():
    assert failures(check_assignments, [(page,) for page in PAGES]) == []


def check_assignments(page: Path) -> None:
    stages = {name: set(model.model_fields) for name, model in SETTINGS.items()}
    for key in re.findall(r"--set '?([\w.:]+)=", page.read_text(encoding="utf-8")):
        if key == "KEY":  # the help's own word
            continue
        first, _, rest = key.partition(".")
        allowed = stages[first] if first in ("teach", "train") else set().union(*stages.values())
        name, _, rest = rest.partition(".") if first in ("teach", "train") else (first, "", rest)
        assert name in allowed, f"{page.name}: --set {key}="
        if name == "objectives" and rest:
            objective, _, knob = rest.partition(".")
            assert not knob or knob in {"weight", *knobs_of(objective)}, f"{page.name}: --set {key}="


def test_every_yaml_block_holds_settings_of_the_verb_in_its_first_line(tmp_path):
    assert failures(check_yaml, [(fence, tmp_path) for fence in fences("yaml")]) == []


def check_yaml(fence: Fence, tmp_path: Path) -> None:
    verb = re.match(r"# (\w+)\.yaml\n", fence.text)[1]
    (tmp_path / "settings.yaml").write_text(fence.text, encoding="utf-8")
    built = SETTINGS[verb].build(tmp_path / "settings.yaml")
    check_objectives(getattr(built, "objectives", {}))
    assert yaml.safe_load(fence.text)


# Python


def test_every_python_block_compiles_and_its_names_exist():
    assert failures(check_python, [(fence,) for fence in fences("python")]) == []


def check_python(fence: Fence) -> None:
    for node in ast.walk(ast.parse(fence.text)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "flipkd":
            missing = {alias.name for alias in node.names} - set(top_level(node.module))
            assert not missing, f"{node.module} has no {missing}"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(base_models, encoders, pair_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "validation"):
        shutil.copy(pair_files[name], f"{name}.csv")
    (block,) = [fence for fence in fences("python") if fence.page == "README.md"]
    text = block.text  # with tiny models in the place of the default ones
    for folder, further in {
        "teacher": {"teacher_name_or_path": str(encoders / "bi"), "num_train_epochs": 1},
        "run": {"model_name_or_path": str(base_models["llama"]), "training_arguments": {"max_steps": 1}},
    }.items():
        assert f'{{"output_dir": "{folder}"}}' in text.replace('"teacher": "teacher", ', "")
        text = text.replace(f'"output_dir": "{folder}"', f'"output_dir": "{folder}", **{further}')
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)
    assert len(names["decisions"]) == 1
    assert set(names["decisions"]) <= {"match", "no_match"}


def test_the_objective_of_the_docs_runs():
    import torch

    from flipkd.training.losses import resolve_objectives

    (block,) = [fence for fence in fences("python") if "def mean_squared_gap" in fence.text]
    names: dict[str, Any] = {}
    exec(compile(block.text, "objectives.md", "exec"), names)
    unit = torch.eye(2)
    batch = flipkd.MatchBatch(left=unit, right=unit, teacher_grid=unit)
    assert names["mean_squared_gap"](batch, scale=0.5) == pytest.approx(0.25)
    assert resolve_objectives({"in_batch_kl": 1.0}, teacher_facts={})
    (block,) = [fence for fence in fences("python") if "class LearnedScore" in fence.text]
    exec(compile(block.text, "objectives.md", "exec"), names)
    learned = names["LearnedScore"](student_width=2, bias=False)
    torch.nn.init.ones_(learned.head.weight)
    assert learned(batch).item() == 0


def test_the_objective_of_contributing_runs_and_its_test_passes():
    from flipkd.objectives import labels

    diff = re.search(r"^```diff\n(.*?)^```", text_of("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)[1]
    parts = re.split(r"^--- (.*)\n", diff, flags=re.MULTILINE)[1:]
    bodies = ["".join(line[1:] + "\n" for line in body.splitlines()) for body in parts[1::2]]
    files = dict(zip(parts[::2], bodies, strict=True))
    assert all((ROOT / path).is_file() for path in files)
    names: dict[str, Any] = vars(labels) | {"torch": torch, "pytest": pytest}
    source, entry, test = files.values()
    exec(compile(source + test, "CONTRIBUTING.md", "exec"), names)
    assert entry.split('"')[1] in names

    def make_batch(label: torch.Tensor) -> MatchBatch:
        unit = torch.nn.functional.normalize(torch.arange(24.0).reshape(8, 3) % 7 - 2, dim=1)
        return MatchBatch(left=unit, right=unit.roll(1, 0), label=label)

    (tested,) = [value for name, value in names.items() if name.startswith("test_")]
    tested(make_batch)


# Tables that say what the code says


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_and_knob_stands_in_its_section(objective):
    text = section("docs/objectives.md", objective)
    assert "Source:" in text
    for knob, default in knobs_of(objective).items():
        cell = GIVEN_BY_THE_RUN.get(knob, f"`{default}`")
        assert f"| `{knob}` | {cell} |" in text
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == len(knobs_of(objective))


def test_the_table_of_objectives():
    written = re.findall(r"^\| \[`.*$", text_of("docs/objectives.md"), re.MULTILINE)
    assert len(written) == len(set(written))
    assert set(written) == set(objective_rows()), "the rows that are missing are in the set on the right"


def objective_rows() -> list[str]:
    from flipkd.training.losses import resolve_objectives

    default = config.TrainConfig.model_fields["objectives"].default
    rows = []
    for name in OBJECTIVES:
        [term] = resolve_objectives({name: 1.0}, teacher_facts={"theta_pos": 0.5, "theta_neg": 0.2})
        parts = {"answers": "answer", "vectors": "vectors", "layers": "layers"}
        trains = " and ".join(word for part, word in parts.items() if part in term.needs)
        reads = "vectors" if "grid" in term.needs else "scores" if "teacher" in term.needs else "nothing"
        looks = "yes" if reads_labels(term) else "no"
        rows.append(f"| [`{name}`](#{name}) | {trains} | {reads} | {looks} | {'yes' if name in default else 'no'} |")
    return rows


def reads_labels(term: Any) -> bool:
    """Whether other labels change the loss of a small batch; turned round alone, margin_mse has the same gaps."""
    from flipkd.training.losses import RunFacts, build_objective

    random = torch.Generator().manual_seed(0)
    left, right = (torch.nn.functional.normalize(torch.randn(8, 3, generator=random), dim=1) for _ in range(2))
    label = torch.tensor([1, 0, 0, 1, 0, 1, 0, 0])
    right[label == 1] = left[label == 1]  # the teacher is sure of these, so the filter keeps them
    training = MatchBatch(teacher_left=left, teacher_right=right, label=label)
    torch.manual_seed(0)
    facts = RunFacts(student_width=3, state_shape=(2, 4), training=training)
    objective = build_objective(term.function, lambda: facts)
    losses = []
    for labels in (label, 1 - label, label.roll(1)):
        torch.manual_seed(0)
        value = objective(
            MatchBatch(
                answers=torch.stack([torch.zeros(8), torch.arange(8.0) ** 2], dim=1),
                label=labels,
                left=left.roll(1, dims=1),  # the student thinks otherwise
                right=right,
                teacher_grid=left @ right.T,
                teacher_left=left,
                teacher_right=right,
                pair_id=torch.arange(8) // 2,
                list_id=torch.arange(8) // 4,
                layer_states=torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(1)),
            )
        )
        losses.append(value.item())
    return len(set(losses)) > 1


def test_the_table_of_exit_codes():
    text = text_of("docs/errors.md")
    leaves = [e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, errors.FlipkdError)]
    for leaf in leaves:
        also = leaf.__bases__[-1] if len(leaf.__bases__) > 1 else Exception
        assert f"| {leaf.exit_code} | `{leaf.__name__}` | `{also.__name__}` |" in text
    assert len(re.findall(r"^\| \d+ \| `", text, re.MULTILINE)) == len(leaves)


def test_the_table_of_packages():
    rows = re.findall(r"^\| `(\w+)` \| ?(.*?) ?\|$", text_of("docs/architecture.md"), re.MULTILINE)
    written = {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}
    assert written == {
        room: set(below) for room, below in test_architecture.PACKAGES.items() if room not in test_architecture.LOWEST
    }


def test_the_table_of_packaged_models():
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (.*?) \|", text_of("docs/models.md"), re.MULTILINE))
    assert rows == packaged_models()


def test_the_fields_of_matcher_json():
    from flipkd.student.contract import ScoreContract

    rows = re.findall(r"^\| `(\w+)` \|", section("docs/matcher.md", "matcher.json"), re.MULTILINE)
    assert rows == list(ScoreContract.model_fields)


def test_the_fields_of_the_template():
    fields = {
        n.target.id: n.value for n in top_level("flipkd.student.prompt")["Template"].body if hasattr(n, "target")
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\".*\")` \|$", section("docs/student.md", "The prompt"), re.MULTILINE))
    assert {name: ast.literal_eval(value) for name, value in rows.items()} == {
        name: ast.literal_eval(value) for name, value in fields.items()
    }


@pytest.mark.parametrize(
    "page, module, table",
    [
        ("docs/teachers.md", "flipkd.teachers.finetune", "LOSSES"),
        ("docs/teachers.md", "flipkd.teachers.teacher", "TEACHERS"),
        ("docs/evaluate.md", "flipkd.comparison.systems", "SYSTEMS"),
    ],
)
def test_every_row_of_a_table_is_explained(page, module, table):
    rows = getattr(import_module(module), table)
    assert [row for row in rows if f"| `{row}` |" not in text_of(page)] == []


def test_every_metric_is_explained():
    scores = [0.1, 0.2, 0.8, 0.9]
    measured = flipkd.measure(scores, [0, 0, 1, 1], probabilities=scores)
    assert [name for name in measured if f"`{name}`" not in section("docs/evaluate.md", "Metrics")] == []


def test_every_alias_of_a_column_is_named():
    text = section("docs/data.md", "Columns")
    assert [f"{a}/{b}" for a, b in TEXT_ALIASES if f"`{a}`/`{b}`" not in text] == []
    assert [name for aliases in OTHER_ALIASES.values() for name in aliases if f"`{name}`" not in text] == []


def test_the_architecture_page_shows_every_room_of_the_tree():
    tree = section("docs/architecture.md", "The tree")
    package = Path(flipkd.__file__).parent
    rooms = {f"{path.name}/" if path.is_dir() else path.name for path in package.iterdir() if path.name[0] != "_"}
    assert [room for room in rooms - {"py.typed"} if room not in tree] == []
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.*"))}
    known = folders & {"tests", "recipes", "examples", "docs", "benchmarks", ".ci"}
    assert [name for name in known if f"\n{name}/" not in tree] == []


def test_the_readme_has_its_tables_once():
    tables = re.findall(r"^<!-- table: (\w+) -->\n.+?^<!-- /table -->$", text_of("README.md"), re.M | re.S)
    assert tables == ["headline", "speed", "bank"]


def test_the_changelog_tells_of_this_version():
    assert re.search(r"^## \[(.+?)\] - ", text_of("CHANGELOG.md"), re.MULTILINE)[1] == flipkd.__version__
