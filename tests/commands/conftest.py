"""Fixtures that several tests of commands share."""

import pytest
from tiny import SENTENCES


@pytest.fixture
def seeds(tmp_path):
    """File of the texts from which `flipkd generate` starts."""
    file = tmp_path / "seeds.csv"
    file.write_text("text\n" + "".join(f"{sentence} now\n" for sentence in SENTENCES))
    return file
