"""Shuffled teacher: the same values in another order, in a valid teacher folder."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.commands.teach import teach
from flipkd.comparison.shuffled import derange, shuffled
from flipkd.config import TeachConfig
from flipkd.data.pairs import read_pairs
from flipkd.teachers.stored_teacher import StoredTeacher


@pytest.fixture
def sets(pair_files):
    return [read_pairs(pair_files[name]) for name in ("train", "validation")]


def taught(pair_files, folder, **settings):
    config = TeachConfig.check(
        {
            "train_file": pair_files["train"],
            "validation_file": pair_files["validation"],
            "output_dir": str(folder),
            "fine_tune": False,
            **settings,
        }
    )
    teach(config)
    return folder


def test_shuffled_gives_each_text_another_vector(pair_files, encoders, sets, tmp_path):
    folder = taught(pair_files, tmp_path / "t", teacher_name_or_path=str(encoders / "bi"))
    wrong = shuffled(folder, sets, seed=0)
    texts = list(dict.fromkeys(text for one in sets for side in ("text1", "text2") for text in one[side][:]))
    right, found = StoredTeacher(folder).vectors(texts), StoredTeacher(wrong).vectors(texts)
    assert sorted(map(tuple, right.tolist())) == sorted(map(tuple, found.tolist()))
    assert not np.array_equal(right, found)
    signal = StoredTeacher(wrong).signal(sets[0])
    assert signal.left[3] == pytest.approx(found[texts.index(sets[0]["text1"][3])])
    assert StoredTeacher(wrong).fingerprint != StoredTeacher(folder).fingerprint
    assert shuffled(folder, sets, seed=0) == wrong
    others = {shuffled(folder, sets, seed=1), shuffled(folder, sets[:1], seed=0)}
    assert len(others | {wrong}) == 3, "another seed or other pairs are another teacher"


def test_shuffled_gives_each_pair_another_score(tmp_path):
    rows = [(f"a{row}", f"b{row}", row % 2, row / 10) for row in range(8)]
    path = tmp_path / "scored.csv"
    path.write_text("text1,text2,label,score\n" + "".join(f"{a},{b},{y},{s}\n" for a, b, y, s in rows))
    files = {"train": str(path), "validation": str(path)}
    folder = taught(files, tmp_path / "t", teacher_type="scores")
    dataset = read_pairs(str(path))
    right = StoredTeacher(folder).signal(dataset).pair_scores()
    found = StoredTeacher(shuffled(folder, [dataset], seed=0)).signal(dataset).pair_scores()
    assert sorted(right) == sorted(found)
    assert (right != found).all()


@pytest.mark.parametrize("n", [2, 3, 10])
def test_derange_moves_every_value(n):
    values = np.arange(n, dtype=np.float32)
    for seed in range(5):
        found = derange(values, seed=seed)
        assert sorted(found) == sorted(values)
        assert (found != values).all()
