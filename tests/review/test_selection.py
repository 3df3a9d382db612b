"""Selection of pairs to label: by doubt, by disagreement with the teacher, by distance and at random."""

from dataclasses import replace

import numpy as np
import pytest
from review_queues import filled_queue
from scipy.sparse import csr_matrix

from flipkd.errors import DataError
from flipkd.review.selection import k_centres, select


@pytest.fixture
def pairs(tmp_path):
    with filled_queue(tmp_path / "q.db") as queue:
        return queue.pairs()


def numbers(pairs):
    return [int(pair.text1.split()[1]) for pair in pairs]


def test_doubtful_pairs_come_in_the_order_of_their_doubt(pairs):
    assert numbers(select(pairs, "doubtful", limit=3))[0] == 4, "its probability is 0.5"
    assert set(numbers(select(pairs, "doubtful", limit=3))) == {3, 4, 5}
    assert len(select(pairs, "doubtful")) == 10


def test_disagreement_compares_ranks_and_needs_a_teacher(pairs):
    assert set(numbers(select(pairs, "disagreement", limit=2))) == {0, 9}, "the teacher's order is the reverse"
    agrees = [replace(pair, teacher_score=100 * pair.score) for pair in pairs]
    agrees[3] = replace(agrees[3], teacher_score=-1e6 if agrees[3].score > 0 else 1e6)
    assert select(agrees, "disagreement", limit=1) == [agrees[3]]
    unknown = [replace(pair, teacher_score=None) for pair in pairs]
    assert select([*unknown[1:], pairs[0]], "disagreement") == [pairs[0]]
    with pytest.raises(DataError, match="give --teacher"):
        select(unknown, "disagreement")


def test_random_is_the_order_of_the_queue(pairs):
    assert select(pairs, "random", limit=4) == pairs[:4]
    assert numbers(pairs) != sorted(numbers(pairs))


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_k_centres_takes_the_farthest_row_each_time(kind):
    points = np.array([[0.0, 0], [0.1, 0], [10, 0], [10, 0.1], [0, 7], [0, 7]])
    rows = k_centres(kind(points), 4, first=0)
    assert rows[:3] == [0, 3, 4]
    for step in range(1, 4):  # the definition in plain loops
        distances = [min(np.linalg.norm(points[row] - points[chosen]) for chosen in rows[:step]) for row in range(6)]
        assert distances[rows[step]] == pytest.approx(max(distances))
    assert sorted(k_centres(kind(points), 6, first=2)) == [0, 1, 2, 3, 4, 5], "duplicates are taken once each"


def test_diverse_pairs_cover_the_topics_by_tfidf_and_by_given_vectors(pairs):
    texts = [
        "my card is lost",
        "the card was lost",
        "open an account",
        "opening accounts",
        "transfer money",
        "money transfers",
    ]
    topics = [replace(pair, text1=text, text2=text) for pair, text in zip(pairs, texts, strict=False)]
    found = select(topics, "diverse", limit=3)
    assert len({texts.index(pair.text1) // 2 for pair in found}) == 3
    vectors = {text: np.eye(3, dtype=np.float32)[number % 3] for number, text in enumerate(texts)}
    found = select(topics, "diverse", limit=3, vectors=lambda side: np.array([vectors[text] for text in side]))
    assert len({texts.index(pair.text1) % 3 for pair in found}) == 3
    assert select([], "diverse") == []
