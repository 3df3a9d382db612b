"""The documentation site: its pages, the links of its hook, and the names that the pages for contributors tell."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import flipkd

ROOT = Path(__file__).parents[1]
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
STEP = re.compile(r"^\| [^|]+ \| `([\w./-]+/[\w.-]+)` \| (?:`([\w.]+)`)? ?\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(nav: Any) -> Iterator[str]:
    """The pages of a navigation, in order."""
    for entry in nav:
        [target] = entry.values()
        if isinstance(target, str):
            yield target
        else:
            yield from pages(target)


def test_site_navigation_has_every_page_once(hook):
    listed = list(pages(SETTINGS["nav"]))
    on_disk = {page.name for page in (ROOT / "docs").glob("*.md")} | set(hook.ROOT_PAGES.values())
    assert sorted(listed) == sorted(on_disk)


def test_the_site_loads_nothing_from_elsewhere_and_is_strict():
    assert SETTINGS["strict"] is True
    assert SETTINGS["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "repo_url", "site_url"} & set(SETTINGS)


def test_make_docs_fails_on_a_warning():
    [command] = re.findall(r"mkdocs build.*", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert "--strict" in command
    assert "quiet" not in command  # mkdocs counts only the warnings that it shows


@pytest.mark.parametrize(
    "source, link, there",
    [
        ("docs/index.md", "method.md", "method.md"),
        ("docs/index.md", "../README.md", "index.md"),
        ("docs/teachers.md", "../SECURITY.md", "security.md"),
        ("docs/method.md", "../recipes/minimal.py", "recipes/minimal.py"),
        ("CONTRIBUTING.md", "docs/student.md#the-prompt", "student.md#the-prompt"),
        ("CONTRIBUTING.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
        ("docs/index.md", "#metrics", "#metrics"),
    ],
)
def test_on_page_markdown_rewrites_a_link_to_where_the_site_has_the_page(hook, source, link, there):
    assert hook.rewritten(f"see [it]({link}).", source) == f"see [it]({there})."


def test_on_page_markdown_leaves_links_in_code_as_they_are(hook):
    class Page:
        class file:
            src_uri = "contributing.md"

    text = "[a](docs/cli.md)\n\n```sh\necho '[a](docs/cli.md)'\n```\n"
    assert hook.on_page_markdown(text, page=Page) == text.replace("docs/cli.md", "cli.md", 1)


def test_the_python_page_has_every_public_name():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: flipkd\.(\w+)$", text, re.MULTILINE)) == set(flipkd._PUBLIC)


def test_the_glossary_has_at_most_25_terms_in_order():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = [term.casefold() for term in re.findall(r"^\| (?!term|---)([^|]+?) \|", text, re.MULTILINE)]
    assert 10 < len(terms) <= 25
    assert len(terms) == len(set(terms))


def steps() -> list[tuple[str, str]]:
    """(file, name) of the tables of CONTRIBUTING and the architecture page; the name may be empty."""
    texts = ((ROOT / page).read_text(encoding="utf-8") for page in ("CONTRIBUTING.md", "docs/architecture.md"))
    return sorted({step for text in texts for step in STEP.findall(text)})


def defined(tree: ast.Module) -> set[str]:
    """Names of a module's functions, classes, methods and constants."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("file, name", steps(), ids=lambda value: value or "-")
def test_steps_of_the_pages_name_a_file_and_what_it_defines(file, name):
    path = ROOT / file
    assert path.is_file()
    assert not name or name in defined(ast.parse(path.read_text(encoding="utf-8")))


def test_steps_are_found_in_the_pages():
    files = {file for file, _ in steps()}
    assert {"src/flipkd/student/scoring.py", "src/flipkd/objectives/__init__.py", "docs/matcher.md"} <= files


def test_architecture_page_names_files_to_read_first_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|recipes)/[\w/]+\.py)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).is_file()] == []
