"""docs/reliability.md: every scenario has a test that is marked with it, or a reason; the page is up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
FEWEST_HELD = 92  # of the 95 scenarios besides those of load
OPEN = ""  # groups of which a scenario may have neither a test nor a reason


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("reliability_page", DOCS / "reliability_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reliability_page_is_up_to_date(made):
    page = made.page(made.scenarios(), made.marked_tests())
    assert (DOCS / "reliability.md").read_text(encoding="utf-8") == page, "run: python docs/reliability_page.py"


def test_reliability_has_every_scenario_with_a_test_or_else_a_reason(made):
    tests, counts = made.marked_tests(), {}
    for group in made.scenarios().values():
        letter = next(iter(group))[0]
        assert list(group) == [f"{letter}{number}" for number in range(1, len(group) + 1)]
        counts[letter] = len(group)
        assert all(
            {"fault", "seen", "kept"} <= row.keys() <= {"fault", "seen", "kept", "reason"} for row in group.values()
        )
        assert not [name for name, row in group.items() if "reason" in row and name in tests]
        bare = [name for name, row in group.items() if "reason" not in row and name not in tests]
        assert letter in OPEN or not bare, f"neither a test nor a reason: {bare}"
    assert counts == {"D": 17, "C": 9, "T": 11, "A": 10, "B": 7, "S": 17, "X": 16, "N": 8, "L": 14}
    assert len([name for name in tests if name[0] != "L"]) >= FEWEST_HELD


def test_marked_tests_are_read_from_the_sources(made, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "test_a.py").write_text(
        "@pytest.mark.scenario('D1', 'D2')\n@other\ndef test_one(): ...\n"
        "class TestThis:\n    @pytest.mark.scenario('D2')\n    async def test_two(self): ...\n"
        "def test_three(): ...\n"
    )
    (tmp_path / "test_b.py").write_text("def test_four(): ...\n")
    found = made.marked_tests(tmp_path)
    assert found == {"D1": ["sub/test_a.py::test_one"], "D2": ["sub/test_a.py::test_one", "sub/test_a.py::test_two"]}
    groups = {"Data": {name: {"fault": "f", "seen": "s", "kept": "k"} for name in ("D1", "D2")}}
    assert "| D1 | f | s | k | `sub/test_a.py::test_one` |\n" in made.page(groups, found)
    with pytest.raises(ValueError, match=r"not listed in reliability\.yaml: D3"):
        made.page(groups, found | {"D3": ["test_b.py::test_four"]})
