"""Fill the table of clients in docs/serve.md from tests/clients: `python docs/clients_page.py`; a test fails when they differ.

The versions are those of constraints-clients.txt, the calls the docstrings of the tests.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from flipkd.commands.results import text_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "serve.md"
BLOCK = re.compile(r"(<!-- clients -->\n).*?(<!-- /clients -->)", re.DOTALL)
PACKAGES = {
    "openai": ["openai"],
    "cohere": ["cohere"],
    "huggingface_hub": ["huggingface-hub"],
    "langchain": ["langchain-openai", "langchain-cohere"],
    "llama_index": ["llama-index-core"],
    "haystack": ["haystack-ai"],
    "litellm": ["litellm"],
}
"""Name in tests/clients/test_NAME.py -> packages."""


def table() -> str:
    """A row per client: packages with their versions, calls."""
    pins = (ROOT / "constraints-clients.txt").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)$", pins, re.MULTILINE))
    rows = [
        [", ".join(f"{package} {versions[package]}" for package in packages), "; ".join(calls(name))]
        for name, packages in PACKAGES.items()
    ]
    return text_table(["client", "calls that are tested"], rows) + "\n"


def calls(name: str) -> list[str]:
    """The docstrings of the tests of one client."""
    source = (ROOT / "tests" / "clients" / f"test_{name}.py").read_text(encoding="utf-8")
    tests = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return [ast.get_docstring(test) or "" for test in tests if test.name.startswith("test_")]


def page(text: str) -> str:
    """The page with the table as the tests give it."""
    return BLOCK.sub(lambda found: found[1] + table() + found[2], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
