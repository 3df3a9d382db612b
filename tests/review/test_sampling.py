"""Choice of pairs for the queue: all to review, and a share of the others by a hash of their texts."""

import numpy as np
import pytest

from flipkd.review.sampling import DISAGREEMENT, REVIEW, SAMPLE, ScoredPair, chosen, pair_key, shuffle_number


def sure(number):
    return ScoredPair(f"left {number}", f"right {number}", 3.0, 0.95, "match")


def test_pairs_to_review_and_disagreements_are_always_chosen():
    pairs = [ScoredPair("a", "b", 0.1, 0.5, "review"), ScoredPair("c", "d", 3.0, 0.9, "match", 0.1, True), sure(1)]
    found = chosen(pairs, share=0.0)
    assert [(choice.pair, choice.reason, choice.sampled) for choice in found] == [
        (pairs[0], REVIEW, 1.0),
        (pairs[1], DISAGREEMENT, 1.0),
    ]


def test_share_of_the_sure_pairs_is_chosen_by_texts_alone_and_grows_with_the_share():
    pairs = [sure(number) for number in range(20_000)]
    few, more = (chosen(pairs, share=share) for share in (0.01, 0.05))
    assert len(few) == pytest.approx(200, abs=5 * np.sqrt(200))
    assert {choice.key for choice in few} < {choice.key for choice in more}
    assert chosen(pairs[::-1], share=0.01)[::-1] == few
    assert {(choice.reason, choice.sampled) for choice in few} == {(SAMPLE, 0.01)}
    assert len(chosen(pairs[:50], share=1.0)) == 50


def test_pair_key_is_equal_for_duplicates_in_the_normal_form_only():
    assert pair_key("Lost\u00a0 card ", "caf\u0065\u0301") == pair_key("Lost card", "caf\u00e9")
    assert len({pair_key("a", "b"), pair_key("b", "a"), pair_key("A", "b"), pair_key('a", "b', "")}) == 4


def test_order_of_pairs_does_not_depend_on_the_choice():
    keys = [choice.key for choice in chosen([sure(number) for number in range(5000)], share=0.05)]
    numbers = np.array([shuffle_number(key) for key in keys]) / 16**15
    assert 0.4 < numbers.mean() < 0.6
    assert max(map(shuffle_number, keys)) < 2**63
