"""Write docs/reliability.md from reliability.yaml and the marked tests: `python docs/reliability_page.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

PAGE = Path(__file__).with_name("reliability.md")
SCENARIOS = Path(__file__).with_name("reliability.yaml")
TESTS = Path(__file__).parents[1] / "tests"
HEAD = """# Reliability: what can go wrong, and which test holds it

Made by `python docs/reliability_page.py` from `reliability.yaml` and from the tests marked `@pytest.mark.scenario`; do not
edit. {held} of {total} scenarios have a test. The paths are those below `tests/`.
"""


def scenarios() -> dict[str, dict[str, dict[str, str]]]:
    """Group -> id -> fault, seen, kept and, where no test holds it, reason."""
    groups: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(SCENARIOS.read_text(encoding="utf-8"))
    return groups


def marked_tests(folder: Path = TESTS) -> dict[str, list[str]]:
    """Id -> the tests that are marked with it, as file::name; read from the sources, without importing them."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for name, ids in _marks(file.read_text(encoding="utf-8")):
            for scenario in ids:
                found.setdefault(scenario, []).append(f"{file.relative_to(folder).as_posix()}::{name}")
    return found


def _marks(source: str) -> Iterator[tuple[str, list[str]]]:
    if "mark.scenario(" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.scenario":
                    yield node.name, [ast.literal_eval(argument) for argument in mark.args]


def page(groups: dict[str, dict[str, dict[str, str]]], tests: dict[str, list[str]]) -> str:
    """The whole page: one table per group. Raises ValueError for an id that is marked and not listed, or not explained."""
    listed = {name: rows[name] for rows in groups.values() for name in rows}
    if unknown := tests.keys() - listed.keys():
        raise ValueError(f"marked in tests/ but not listed in {SCENARIOS.name}: {', '.join(sorted(unknown))}")
    text = HEAD.format(held=len(tests), total=len(listed))
    for title, rows in groups.items():
        text += f"\n## {title}\n\n| | what goes wrong | what the user sees | what is kept | tests |\n{'| --- ' * 5}|\n"
        text += "".join(_row(name, row, tests.get(name, [])) for name, row in rows.items())
    return text


def _row(name: str, row: dict[str, str], tests: list[str]) -> str:
    held = "<br>".join(f"`{test}`" for test in tests) or f"none: {row.get('reason', 'not written yet')}"
    return f"| {name} | {row['fault']} | {row['seen']} | {row['kept']} | {held} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(scenarios(), marked_tests()), encoding="utf-8")
