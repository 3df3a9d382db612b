"""PairSet: the union of rules, each pair once, and the recall of each rule."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.entities.pair_set import PairSet

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=15)


def sides(pairs):
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@settings(deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=3), PAIRS.filter(bool), st.booleans())
def test_pair_set_has_each_pair_once_with_all_its_rules(rules, known, one_file):
    def normal(pairs):
        return {(min(p), max(p)) for p in pairs if p[0] != p[1]} if one_file else set(pairs)

    found = PairSet(6, None if one_file else 6)
    for number, pairs in enumerate(rules):
        found.add(f"r{number}", *sides(pairs))
    union = set().union(*map(normal, rules))
    everything = found.all()
    assert list(zip(*(side.tolist() for side in found.rows(everything)), strict=True)) == sorted(union)
    expected = ["|".join(f"r{n}" for n, pairs in enumerate(rules) if pair in normal(pairs)) for pair in sorted(union)]
    assert found.rules_of(everything) == expected
    if not normal(known):
        return
    summary = found.summary(found.numbers(*sides(known)))
    for rule, of_rule in [*((f"r{n}", normal(pairs)) for n, pairs in enumerate(rules)), ("total", union)]:
        others = [normal(pairs) for n, pairs in enumerate(rules) if f"r{n}" != rule]
        only = [p for p in of_rule if sum(p in other for other in map(normal, rules)) == 1]
        hits = len(of_rule & normal(known))
        assert summary[rule] == {
            "pairs": len(of_rule), "only": len(only), "found": hits, "recall": hits / len(normal(known))
        }, others  # fmt: skip
    assert found.possible == (15 if one_file else 36)


def test_pair_set_replaces_rows_by_those_that_represent_them():
    first = np.array([0, 1, 0, 1])
    found = PairSet(4, first=(first, first))
    found.add("rule", *sides([(2, 3), (0, 1), (0, 2)]))
    assert [side.tolist() for side in found.rows(found.all())] == [[0], [1]]
