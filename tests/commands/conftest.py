"""Fixtures that several tests of commands share."""

import pytest
from scored_files import LengthScorer
from tiny import SENTENCES

from flipkd.commands import match_files


@pytest.fixture
def stub(monkeypatch, tiny_matcher):
    """Settings of a match of a tiny matcher whose scores are those of LengthScorer."""
    monkeypatch.setattr(match_files, "Scorer", LengthScorer)
    return {"matcher": str(tiny_matcher()), "rows_per_part": 3, "keep": ["id"]}


@pytest.fixture
def seeds(tmp_path):
    """File of the texts from which `flipkd generate` starts."""
    file = tmp_path / "seeds.csv"
    file.write_text("text\n" + "".join(f"{sentence} now\n" for sentence in SENTENCES))
    return file
