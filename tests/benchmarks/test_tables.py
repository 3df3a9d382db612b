"""The figures in README and docs are those of the result files."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality" / "tables.py"


def test_every_table_is_what_the_results_say():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_changed_figure_is_found(tmp_path):
    page = (SCRIPT.parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    source = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tables', {str(SCRIPT)!r})\n"
        "tables = importlib.util.module_from_spec(spec); spec.loader.exec_module(tables)\n"
        "page = sys.stdin.read()\n"
        "assert tables.filled(page) == page\n"
        "changed = page.replace('| 0.', '| 1.', 1)\n"
        "assert changed != page and tables.filled(changed) == page\n"
    )
    done = subprocess.run([sys.executable, "-c", source], input=page, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
