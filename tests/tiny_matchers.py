"""Folders of tiny matchers for the tests of exports, and the pairs that they score."""

from __future__ import annotations

from pathlib import Path

from tiny import make_table, randomise

TABLE = make_table(60, seed=2)
PAIRS = [
    *zip(TABLE.left, TABLE.right, strict=True),
    ("<eos> pin <pad>", "  two\n lines\u00ad "),
    ("x", "Cafe\u0301"),
]
DECISIONS = {
    "calibration": {"method": "sigmoid", "slope": 2.0, "intercept": -0.5},
    "threshold": 0.25,
    "review_threshold": -0.25,
}


def write_matcher(make_student, folder: Path, family: str, reading: str, **changes) -> Path:
    """Write a matcher whose LoRA is random into `folder`; changes are fields of its contract."""
    from flipkd.files import new_folder

    student, contract = make_student(family, reading=reading, max_text_length=64)
    with new_folder(folder) as temporary:
        randomise(student).save(temporary, contract.model_copy(update=DECISIONS | changes))
    return folder


def exported(folder: Path, out: Path, to: str, **settings):
    """Export a matcher folder; return the comparison."""
    from flipkd.command_config import ExportConfig
    from flipkd.commands.export import export

    return export(ExportConfig.check({"matcher": str(folder), "to": to, "output_dir": str(out)} | settings))
