"""split_pairs: no text in two parts, sizes and class balance near the requested ones."""

from __future__ import annotations

import random

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from flipkd.data.leakage import leaks_by_side
from flipkd.data.pairs import read_pairs
from flipkd.data.split import connected_rows, split_pairs
from flipkd.errors import DataError, UsageError

NOTHING = {"train/validation": 0, "train/test": 0, "validation/test": 0}


def leaks(splits):
    """Number of leaked rows by pair of splits."""
    return {"/".join(names): leak.rows for names, leak in leaks_by_side(splits).items()}


def data(rows, **more):
    columns = {"text1": [row[0] for row in rows], "text2": [row[1] for row in rows]}
    return Dataset.from_dict(columns | more)


def chain(blocks, rows_per_block):
    """Blocks of rows; shared texts connect the rows of a block to a chain."""
    rows = [(f"b{block} t{i}", f"b{block} t{i + 1}") for block in range(blocks) for i in range(rows_per_block)]
    random.Random(0).shuffle(rows)
    return data(rows, label=[i % 4 == 0 for i in range(len(rows))])


def test_split_pairs_sizes_and_class_balance():
    dataset = data([(f"l {i}", f"r {i}") for i in range(1000)], label=[int(i % 5 == 0) for i in range(1000)])
    splits = split_pairs(dataset)
    assert {part: len(rows) for part, rows in splits.items()} == {"train": 700, "validation": 100, "test": 200}
    assert {part: sum(rows["label"]) for part, rows in splits.items()} == {"train": 140, "validation": 20, "test": 40}
    assert sorted(text for rows in splits.values() for text in rows["text1"]) == sorted(dataset["text1"])
    assert leaks(splits) == NOTHING


def test_split_pairs_keeps_the_order_of_rows():
    splits = split_pairs(data([(f"l {i:03}", f"r {i}") for i in range(100)]))
    for rows in splits.values():
        assert rows["text1"][:] == sorted(rows["text1"][:])


def test_split_pairs_keeps_shared_texts_together():
    splits = split_pairs(chain(100, 7))
    assert leaks(splits) == NOTHING
    blocks = [{text.split()[0] for text in rows["text1"]} for rows in splits.values()]
    assert sum(map(len, blocks)) == len(set.union(*blocks)) == 100
    assert [len(rows) for rows in splits.values()] == pytest.approx([490, 70, 140], abs=14)


def test_split_pairs_keeps_spelling_variants_together():
    variants = ["{} a?", "{}A", "\uff5b{}\uff5d  a!", "{}-a"]
    rows = [(variant.format(f"text{i}"), f"other {i} {j}") for i in range(40) for j, variant in enumerate(variants)]
    splits = split_pairs(data(rows))
    assert leaks(splits) == NOTHING
    homes = [{int(text.split()[1]) for text in rows["text2"]} for rows in splits.values()]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]


def test_split_pairs_distinguishes_texts_without_letters():
    rows = [(chr(0x1F600 + i), "!" * (i + 1)) for i in range(60)]
    assert [len(part) for part in split_pairs(data(rows)).values()] == [42, 6, 12]


def test_split_pairs_distinguishes_vowel_signs():
    names = [a + b + c + d for a in "कगमल" for b in "ािीुू" for c in "तन" for d in "ािीुू"]
    splits = split_pairs(data(list(zip(names[::2], names[1::2], strict=True))))
    assert [len(part) for part in splits.values()] == [70, 10, 20]
    assert leaks(splits) == NOTHING


def test_split_pairs_keeps_groups_together_but_not_blank_groups():
    rows = [(f"l {i}", f"r {i}") for i in range(100)]
    group = [str(i // 5) if i < 50 else None for i in range(100)]
    splits = split_pairs(data(rows, group=group))
    homes = [{name for name in part["group"] if name is not None} for part in splits.values()]
    assert sum(map(len, homes)) == len(set.union(*homes)) == 10
    assert [len(part) for part in splits.values()] == pytest.approx([70, 10, 20], abs=2)


def test_split_pairs_does_not_mix_groups_and_texts():
    rows = [(f"l {i}", f"r {i}") for i in range(30)]
    group = [f"l {(i + 1) % 30}" for i in range(30)]  # would tie all rows together if it were one
    assert len(split_pairs(data(rows, group=group))["train"]) == 21


def test_split_pairs_depends_only_on_the_seed():
    dataset = chain(200, 2)
    first, second, other = (split_pairs(dataset, seed=seed) for seed in (3, 3, 4))
    assert first["test"]["text1"][:] == second["test"]["text1"][:]
    assert first["test"]["text1"][:] != other["test"]["text1"][:]


def test_split_pairs_distributes_unlabelled_rows():
    dataset = data([(f"l {i}", f"r {i}") for i in range(100)], label=[None if i < 50 else i % 2 for i in range(100)])
    assert [part["label"][:].count(None) for part in split_pairs(dataset).values()] == [35, 5, 10]


def test_split_pairs_omits_a_part_with_share_0():
    dataset = data([(f"l {i}", f"r {i}") for i in range(10)])
    assert {part: len(rows) for part, rows in split_pairs(dataset, validation=0, test=0.3).items()} == {
        "train": 7,
        "test": 3,
    }
    assert list(split_pairs(dataset, validation=0, test=0)) == ["train"]


@pytest.mark.parametrize("validation, test", [(-0.1, 0.2), (0.5, 0.5), (0.1, 1.0), (float("nan"), 0.1)])
def test_split_pairs_refuses_invalid_shares(validation, test):
    with pytest.raises(UsageError, match="shares must be 0 or more"):
        split_pairs(data([("a", "b")] * 9), validation=validation, test=test)


def test_split_pairs_refuses_one_large_block():
    rows = [("the same", f"r {i}") for i in range(90)] + [(f"l {i}", f"s {i}") for i in range(10)]
    with pytest.raises(DataError, match=r"form 11 blocks, the largest of 90 rows \(90%\), .* Else use more rows"):
        split_pairs(data(rows))
    with pytest.raises(DataError, match=r"a block is never divided\. Use more rows"):
        split_pairs(data(rows), by="text1")


def test_split_pairs_puts_a_large_block_into_train():
    rows = [("the same", f"r {i}") for i in range(65)] + [(f"l {i}", f"s {i}") for i in range(35)]
    splits = split_pairs(data(rows))
    assert [len(part) for part in splits.values()] == [70, 10, 20]
    assert splits["train"]["text1"][:].count("the same") == 65


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_split_pairs_refuses_too_few_rows(rows):
    with pytest.raises(DataError, match="too few to be split"):
        split_pairs(data([(f"l {i}", f"r {i}") for i in range(rows)]))


def test_split_pairs_refuses_no_rows():
    with pytest.raises(DataError, match="no rows to split"):
        split_pairs(data([]))


@pytest.mark.scenario("D8")
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.text("abcAB1?! é", max_size=4), st.text("abcAB1?! é", max_size=4)), min_size=1, max_size=60)
)
def test_split_pairs_never_puts_a_text_into_two_parts(rows):
    try:
        splits = split_pairs(data(rows, label=[i % 2 for i in range(len(rows))]), validation=0.2, test=0.2)
    except DataError:
        return
    assert leaks(splits) == NOTHING
    assert sum(map(len, splits.values())) == len(rows)


@pytest.mark.parametrize("blank", ["", "nan", "None", "NULL", "NA", "<NA>", "\\N"])
def test_split_pairs_distributes_rows_with_any_blank_group(pairs_file, blank):
    rows = [f"l {i},r {i},{i % 2},{f'g{i // 4}' if i < 40 else blank}" for i in range(120)]
    splits = split_pairs(read_pairs(pairs_file("\n".join(["text1,text2,label,group", *rows]))))
    loose = [sum(name is None for name in part["group"][:]) for part in splits.values()]
    assert loose == pytest.approx([56, 8, 16], abs=3)


def faq(questions, entries):
    """Each question with its entry and with a wrong one."""
    rows = [
        (f"question {i}", f"entry {(i + k * (i // entries + 1)) % entries}") for i in range(questions) for k in (0, 1)
    ]
    return data(rows, label=[1 - i % 2 for i in range(len(rows))])


@pytest.mark.parametrize("questions, entries", [(150, 20), (150, 150), (300, 10), (60, 3)])
def test_split_pairs_of_an_faq_by_text1(questions, entries):
    dataset = faq(questions, entries)
    with pytest.raises(
        DataError, match=r"form 1 block, the largest of .* split by text1 \(--by text1\).* Else use more rows"
    ):
        split_pairs(dataset)
    splits = split_pairs(dataset, by="text1")
    assert [len(part) for part in splits.values()] == pytest.approx(
        [1.4 * questions, 0.2 * questions, 0.4 * questions], abs=2
    )
    sides = [{*part["text1"]} for part in splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == questions
    assert leaks(splits) == NOTHING
    turned = dataset.rename_columns({"text1": "text2", "text2": "text1"})
    with pytest.raises(DataError, match="split by text"):
        split_pairs(turned)
    assert [part["text2"][:] for part in split_pairs(turned, by="text2").values()] == [
        part["text1"][:] for part in splits.values()
    ]


def test_split_pairs_by_side_ignores_spelling():
    rows = [(f"{'Q' if k else 'q'}uestion {i}{'?' * k}", f"entry {k}") for i in range(100) for k in (0, 1)]
    splits = split_pairs(data(rows), by="text1")
    homes = [{text.strip("?").lower() for text in part["text1"]} for part in splits.values()]
    assert sum(map(len, homes)) == len(set.union(*homes)) == 100


def test_split_pairs_by_group_uses_text1_without_a_group():
    rows = [(f"question {i // 2}", "the entry") for i in range(200)]
    group = [f"g{i % 20}" if i < 100 else None for i in range(200)]
    splits = split_pairs(data(rows, group=group), by="group")
    assert all(part["group"][:].count(None) >= 6 for part in splits.values())
    for column, kept in (("group", range(100)), ("text1", range(100, 200))):
        values = [group[i] if column == "group" else rows[i][0] for i in kept]
        homes = [{*part[column]} & {*values} for part in splits.values()]
        assert sum(map(len, homes)) == len(set.union(*homes)) == len({*values})


def test_split_pairs_refuses_another_by():
    with pytest.raises(
        DataError, match="known names: group, cluster, answer_id; choose another with --columns group=NAME"
    ):
        split_pairs(data([("a", "b")] * 9), by="group")
    with pytest.raises(UsageError, match="must be one of text1, text2, group"):
        split_pairs(data([("a", "b")] * 9), by="label")


def test_connected_rows_numbers_components_as_scipy_does():
    random = np.random.default_rng(0)
    for rows in (1, 7, 60, 300):
        values = random.integers(0, 2 * rows, (2, rows))
        columns = [[None if value % 9 == 0 else int(value) for value in column] for column in values]
        edges = [(row, rows + value) for column in columns for row, value in enumerate(column) if value is not None]
        start, end = np.array(edges, np.int64).reshape(-1, 2).T
        graph = coo_array((np.ones(len(start)), (start, end)), shape=(3 * rows, 3 * rows))
        assert connected_rows(columns).tolist() == connected_components(graph, directed=False)[1][:rows].tolist()
