"""Who may import whom: the source is read, and what it names must stand in the table of design.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import flipkd

ROOT = Path(flipkd.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

LOWEST = {
    "flipkd",
    "errors",
    "command_config",
    "config",
    "setting_fields",
    "settings",
    "schema_errors",
    "cores",
    "yaml_values",
    "progress",
    "figures",
    "device",
    "tables",
    "files",
    "extras",
    "artefacts",
    "model_lock",
    "model_rules",
    "run_lock",
    "partials",
    "batching",
    "random_state",
    "ranks",
    "text",
    "inputs",
    "hub",
}  # open to all; "flipkd" itself: its version
PACKAGES = {
    "data": set(),
    "objectives": set(),
    "evaluate": set(),
    "student": set(),
    "demo": set(),
    "diagnostics": set(),
    "generate": set(),
    "report": {"evaluate"},
    "watch": {"evaluate"},
    "entities": {"data"},
    "teachers": {"data", "evaluate"},
    "cards": {"student"},
    "publishing": {"student", "cards"},
    "training": {"data", "objectives", "student", "evaluate", "cards"},
    "pair_scorer": {"student", "evaluate", "teachers"},  # a matcher may keep its teacher, whose score it then needs
    "matcher": {"pair_scorer", "ranking", "student", "index", "teachers", "cards", "publishing"},
    "index": set(),
    "ranking": {"index"},
    "review": {"data"},
    "exports": {"matcher", "student", "evaluate"},
    "serve": {"matcher", "index", "ranking", "review"},
    "commands": {
        "data",
        "objectives",
        "evaluate",
        "student",
        "demo",
        "teachers",
        "training",
        "cards",
        "publishing",
        "entities",
        "matcher",
        "index",
        "report",
        "review",
        "watch",
        "serve",
        "exports",
        "diagnostics",
        "generate",
    },
    "comparison": {"data", "evaluate", "student", "demo", "teachers", "training", "report", "commands"},
    "cli": {"commands", "comparison"},
    "__main__": {"cli"},
    "models": set(),
    "errors": set(),
    "command_config": {"setting_fields", "settings"},
    "config": {"setting_fields", "settings"},
    "setting_fields": set(),
    "settings": {"schema_errors", "yaml_values"},
    "schema_errors": set(),
    "yaml_values": set(),
    "cores": set(),
    "progress": set(),
    "figures": set(),
    "device": set(),
    "tables": set(),
    "files": set(),
    "extras": set(),
    "artefacts": set(),
    "model_lock": set(),
    "model_rules": set(),
    "run_lock": set(),
    "partials": set(),
    "batching": set(),
    "random_state": set(),
    "ranks": set(),
    "text": set(),
    "inputs": set(),
    "hub": set(),
}
EVERYTHING = set(PACKAGES)
INSIDE_COMMANDS = {"cli": EVERYTHING - {"__main__"}}  # imports inside a function
NO_SUBJECT = {"utils", "common", "helpers", "base", "misc", "types"}


def package_of(path: Path) -> str:
    """The package that a source file is part of; `flipkd/__init__.py` is the package itself."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "flipkd" if first == "__init__" else first


def target(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    """What one node imports of ours, as `flipkd` or `flipkd.<package>...`; a string with such a path counts as well."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join(start + ([node.module] if node.module else []))
        names = [f"{module}.{alias.name}" for alias in node.names] if module == "flipkd" else [module]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        names = [node.value.partition(":")[0]] if re.fullmatch(r"flipkd(\.\w+)+(:\w+)?", node.value) else []
    else:
        names = []
    yield from (name for name in names if name.split(".")[0] == "flipkd")


def edges(text: str, path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, package, inside a function) of all that a file imports of ours."""
    package = ["flipkd", *path.relative_to(ROOT).parts[:-1]]

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            for name in imported(child, package):
                other = target(name)
                yield child.lineno, other if other in PACKAGES else "flipkd", inside
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from walk(ast.parse(text), False)


def forbidden(text: str, path: Path) -> list[str]:
    """The imports of a file that the table does not have."""
    package = package_of(path)
    if package == "flipkd":  # its public names come from every package
        return []
    found = []
    for line, other, inside in edges(text, path):
        allowed = {package} | PACKAGES[package] | LOWEST | (INSIDE_COMMANDS.get(package, set()) if inside else set())
        if package not in LOWEST:
            allowed.add("models")
        if other not in allowed:
            found.append(f"{path.relative_to(ROOT)}:{line}: {package} imports {other}")
    return found


def test_packages_table_has_every_package():
    on_disk = {package_of(path) for path in SOURCES} - {"flipkd"}
    assert on_disk == set(PACKAGES)


def test_packages_table_only_goes_down():
    done: set[str] = set()
    while len(done) < len(PACKAGES):
        lowest = {package for package, below in PACKAGES.items() if package not in done and below <= done}
        assert lowest, f"a circle among {sorted(EVERYTHING - done)}"
        done |= lowest


def test_forbidden_imports_are_in_no_file():
    assert [found for path in SOURCES for found in forbidden(path.read_text(encoding="utf-8"), path)] == []


@pytest.mark.parametrize(
    "package, text",
    [
        ("data/pairs.py", "from flipkd.student.model import Student"),
        ("data/pairs.py", "import flipkd.student.model as model"),
        ("data/pairs.py", "from flipkd import teachers"),
        ("data/pairs.py", "from ..teachers import store"),
        ("data/pairs.py", "from .. import teachers"),
        ("objectives/batch.py", "def f():\n    from flipkd.data import read_pairs"),
        ("objectives/batch.py", "if TYPE_CHECKING:\n    from flipkd.student.model import Student"),
        ("teachers/store.py", "class A:\n    async def f(self):\n        import flipkd.student"),
        ("student/model.py", "ROWS = {'a': 'flipkd.training.losses:resolve'}"),
        ("student/model.py", "import_module('flipkd.matcher')"),
        ("matcher.py", "from flipkd.training.run import train"),
        ("training/run.py", "from flipkd.teachers.store import ScoreStore"),
        ("cli/training.py", "from flipkd.training.run import train"),
        ("files.py", "from flipkd.models import model_path"),
        ("models/e5.py", "from flipkd.student import model"),
        ("commands/train.py", "from flipkd.cli import main"),
    ],
)
def test_forbidden_finds_an_import_that_is_not_allowed(package, text):
    assert len(forbidden(text, ROOT / package)) == 1


@pytest.mark.parametrize(
    "package, text",
    [
        ("data/pairs.py", "from flipkd import __version__\nfrom flipkd.errors import DataError\nimport flipkd.files"),
        ("data/pairs.py", "from flipkd.data.labels import PARSERS\nfrom .labels import PARSERS\nfrom . import labels"),
        (
            "cli/training.py",
            "from flipkd.errors import UsageError\ndef verb():\n    from flipkd.training.run import train",
        ),
        ("student/model.py", "import flipkd_of_others.training\nTEXT = 'see flipkd.train for more'"),
        ("__init__.py", "if TYPE_CHECKING:\n    from flipkd.matcher import Matcher"),
    ],
)
def test_forbidden_passes_an_allowed_import(package, text):
    assert forbidden(text, ROOT / package) == []


# What no file may hold


def calls(tree: ast.AST) -> Iterator[str]:
    yield from (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


def breaches(text: str) -> list[str]:
    """Statements that unpickle, unpack archives, run foreign code or are no way to talk to a user."""
    tree = ast.parse(text)
    found = [name for name in calls(tree) if name in {"print", "torch.load", "yaml.load", "eval", "exec"}]
    found += [name for name in calls(tree) if name.split(".")[-1] in {"extract", "extractall", "unpack_archive"}]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append("assert")
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in modules if name.split(".")[0] in {"pickle", "dill", "cloudpickle", "joblib"}]
        if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
            found += [node.arg] * (not isinstance(node.value, ast.Constant) or node.value.value is not False)
        if isinstance(node, ast.ImportFrom) and (node.module, "load") in {("torch", a.name) for a in node.names}:
            found.append("torch.load")
    return found


@pytest.mark.slow
@pytest.mark.scenario("A10", "X1")
def test_breaches_are_in_no_file_so_none_unpickles_prints_or_asserts():
    found = {path.relative_to(ROOT).as_posix(): breaches(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: breach for path, breach in found.items() if breach} == {}


@pytest.mark.parametrize(
    "text",
    [
        "print(3)",
        "assert x",
        "torch.load(path)",
        "from torch import load",
        "yaml.load(text, Loader)",
        "import pickle",
        "from pickle import loads",
        "import a, pickle",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=given)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
    ],
)
def test_breaches_finds_one(text):
    assert len(breaches(text)) == 1


def test_breaches_finds_none_where_there_is_none():
    assert breaches("console.print(3)\nyaml.safe_load(x)\nf(trust_remote_code=False)\n'torch.load('\n# assert") == []


def test_every_file_has_a_subject():
    assert {path.stem for path in SOURCES} & NO_SUBJECT == set()
    assert {path.name for path in ROOT.rglob("*") if path.is_dir()} & NO_SUBJECT == set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)) or not text, f"{path}: no first line that says what the file is for"
