"""Collator and order of rows."""

import numpy as np
import pytest
import torch

from flipkd.data.pair_table import PairTable, TeacherSignal
from flipkd.training.augment import augment_pair
from flipkd.training.batches import Collator, LengthGroupedRows


def test_collator_gives_equal_texts_equal_ids_on_either_side(make_student):
    student, _ = make_student()
    signal = TeacherSignal(left=np.eye(4, dtype=np.float32), right=np.eye(4, dtype=np.float32)[::-1].copy())
    table = PairTable(
        left=["pin", "fee", "pin", "card"],
        right=["card", "pin", "fee", "fee"],
        label=np.array([1, 0, -1, 1]),
        teacher=signal,
    )
    batch = Collator(student, table, return_embeddings=True)([3, 0, 2])
    ids = {**dict(zip(["card", "pin", "pin"], batch["left_id"].tolist(), strict=True))}
    assert batch["left_id"][1] == batch["left_id"][2]
    assert batch["right_id"].tolist() == [batch["right_id"][2], ids["card"], batch["right_id"][2]]
    assert batch["label"].tolist() == [1, 1, -1]
    assert batch["teacher_left"].tolist() == signal.left[[3, 0, 2]].tolist()
    answers = Collator(student, table, return_embeddings=False)([3, 0, 2])
    assert "teacher_left" not in answers
    assert answers["teacher_pair"].tolist() == signal.pair_scores()[[3, 0, 2]].tolist()
    alone = PairTable(left=table.left, right=table.right, label=table.label)
    assert Collator(student, alone, return_embeddings=True)([0])["left_id"].tolist() == batch["left_id"][1:2].tolist()
    assert "teacher_pair" not in Collator(student, alone, return_embeddings=False)([0])


def test_collator_adds_the_separate_texts_in_separate_reading(make_student, table):
    student, _ = make_student(reading="separate")
    batch = Collator(student, table, return_embeddings=True)([0, 1, 2])
    assert batch["text_input_ids"].shape[0] == 6
    assert "text_input_ids" not in Collator(student, table, return_embeddings=False)([0, 1, 2])


def test_collator_gives_stored_scores_with_the_embeddings(make_student):
    student, _ = make_student()
    vectors = np.eye(4, dtype=np.float32)
    signal = TeacherSignal(left=vectors, right=vectors).with_out_of_fold(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    table = PairTable(left=list("abcd"), right=list("efgh"), label=np.array([1, 0, 1, 0]), teacher=signal)
    for return_embeddings in (True, False):
        batch = Collator(student, table, return_embeddings=return_embeddings)([2, 0])
        assert batch["teacher_pair"].tolist() == pytest.approx([0.3, 0.1])
        assert ("teacher_left" in batch) == return_embeddings


def test_length_grouped_rows_depend_on_seed_and_epoch_and_have_every_row_once():
    lengths = np.random.default_rng(0).integers(5, 200, 103).tolist()

    def order(seed, epoch):
        rows = LengthGroupedRows(lengths, batch_size=8, seed=seed)
        rows.set_epoch(epoch)
        return list(rows)

    assert sorted(order(0, 0)) == list(range(103))
    assert order(0, 3) == order(0, 3)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_length_grouped_rows_swap_in_every_other_epoch_in_the_same_order():
    lengths = np.random.default_rng(0).integers(5, 200, 103).tolist()

    def order(epoch, seed=0, swap_texts=True):
        rows = LengthGroupedRows(lengths, batch_size=8, seed=seed, swap_texts=swap_texts)
        rows.set_epoch(epoch)
        return list(rows)

    for epoch in range(4):
        assert [row % 103 for row in order(epoch)] == order(epoch, swap_texts=False)
    turned = [{row - 103 for row in order(epoch) if row >= 103} for epoch in range(4)]
    assert turned[0] == turned[2]
    assert turned[1] == turned[3] == set(range(103)) - turned[0]
    assert len(turned[0]) == 51
    assert turned[0] != {row - 103 for row in order(0, seed=1) if row >= 103}


def test_collator_swaps_a_row_like_a_table_with_exchanged_sides(make_student, table):
    rows, swapped = [0, 5, 1], [False, True, True]
    other = PairTable(
        left=table.right,
        right=table.left,
        label=table.label,
        teacher=TeacherSignal(left=table.teacher.right, right=table.teacher.left),
    )
    for reading in ("joint", "separate"):
        student, _ = make_student(reading=reading)
        ours = Collator(student, table, return_embeddings=True)
        theirs = Collator(student, other, return_embeddings=True)
        theirs.left_id, theirs.right_id = ours.right_id, ours.left_id  # the same numbering
        found = ours([row + len(table) * turned for row, turned in zip(rows, swapped, strict=True)])
        assert found["row"].tolist() == rows
        for at, turned in enumerate(swapped):
            (expected,) = [(theirs if turned else ours)([rows[at]])]
            for name in ("label", "left_id", "right_id", "teacher_left", "teacher_right"):
                assert torch.equal(found[name][at], expected[name][0]), name
            length = expected["input_ids"].shape[1]
            assert torch.equal(found["input_ids"][at, :length], expected["input_ids"][0])
        if reading == "separate":
            texts = [*found["text_input_ids"]]
            for at, turned in enumerate(swapped):
                expected = (theirs if turned else ours)([rows[at]])["text_input_ids"]
                for text, own in zip((texts[at], texts[at + len(rows)]), expected, strict=True):
                    assert torch.equal(text[: len(own)], own[: len(text)])
    crossed = PairTable(left=["a", "b"], right=["c", "d"], label=np.array([1, 0]), teacher=scored())
    for return_embeddings in (True, False):
        assert Collator(student, crossed, return_embeddings=return_embeddings)([3, 0])["teacher_pair"].tolist() == [
            0.5,
            0.25,
        ]


def test_length_grouped_rows_augment_a_share_and_keep_order_and_swaps():
    lengths = np.random.default_rng(0).integers(5, 200, 103).tolist()

    def order(epoch, share, **settings):
        rows = LengthGroupedRows(lengths, batch_size=8, seed=0, augment_texts=share, **settings)
        rows.set_epoch(epoch)
        return list(rows)

    for swap_texts in (False, True):
        found = order(1, 0.3, swap_texts=swap_texts)
        assert [number % 206 for number in found] == order(1, 0.0, swap_texts=swap_texts)
        assert found == order(1, 0.3, swap_texts=swap_texts)
    altered = [{number % 103 for number in order(epoch, 0.3) if number >= 206} for epoch in range(2)]
    assert 15 < len(altered[0]) < 47
    assert altered[0] != altered[1]
    assert all(number >= 206 for number in order(0, 1.0))
    assert len({number // 206 for number in order(0, 1.0)}) == 103, "each with a draw of its own"


def test_collator_keeps_label_ids_and_teacher_values_of_an_augmented_row(make_student, table):
    student, _ = make_student(max_text_length=64)
    collate = Collator(student, table, return_embeddings=True)
    plain, altered = collate([3, 5]), collate([3 + 2 * len(table) * 11, 5 + len(table) + 2 * len(table) * 12])
    pairs = [augment_pair(table.left[3], table.right[3], 11, student.prompt.template)]
    pairs += [augment_pair(table.left[5], table.right[5], 12, student.prompt.template)[::-1]]
    read = student.collate(*map(list, zip(*pairs, strict=True)), return_embeddings=True)
    assert torch.equal(altered["input_ids"], read["input_ids"])
    assert altered["input_ids"].shape != plain["input_ids"].shape
    for name in ("label", "row"):
        assert torch.equal(altered[name], plain[name])
    for side, other in (("left", "right"), ("right", "left")):
        for name in (f"{side}_id", f"teacher_{side}"):
            assert torch.equal(altered[name][0], plain[name][0])
            assert torch.equal(altered[name][1], plain[name.replace(side, other)][1])


def scored():
    return TeacherSignal(score=np.array([0.25, 0.5], np.float32))


def test_length_grouped_rows_group_by_length():
    lengths = np.random.default_rng(0).integers(5, 200, 512).tolist()
    rows = list(LengthGroupedRows(lengths, batch_size=16, seed=0))
    spread = [np.ptp([lengths[r] for r in rows[i : i + 16]]) for i in range(0, 512, 16)]
    shuffled = np.random.default_rng(1).permutation(512)
    by_chance = [np.ptp([lengths[r] for r in shuffled[i : i + 16]]) for i in range(0, 512, 16)]
    assert np.mean(spread) < np.mean(by_chance) / 8


@pytest.mark.parametrize("count", [104, 103])
def test_length_grouped_rows_read_both_orders_of_half_of_the_pairs(count):
    lengths = np.random.default_rng(0).integers(5, 200, count).tolist()

    def epoch(number, seed=0, share=0.0):
        rows = LengthGroupedRows(lengths, batch_size=8, seed=seed, both_orders=True, augment_texts=share)
        rows.set_epoch(number)
        found = list(rows)
        assert len(found) == len(rows) == count + count % 2
        return found

    read = [{row for row in epoch(number) if row < count} for number in range(4)]
    assert read[0] == read[2]
    assert read[1] == read[3]
    assert read[0] | read[1] == set(range(count))
    assert len(read[0] & read[1]) == count % 2, "an odd pair is read in both epochs"
    assert epoch(0) != epoch(2), "in another order"
    assert read[0] != {row for row in epoch(0, seed=1) if row < count}
    for share in (0.0, 0.5):
        found = epoch(1, share=share)
        for start in range(0, len(found), 8):
            batch = found[start : start + 8]
            numbers = {(row % count, row // (2 * count)) for row in batch}
            assert len(numbers) == len(batch) / 2, "a pair and its swapped pair, with the same change of a text"
            assert sum(row % (2 * count) >= count for row in batch) == len(batch) / 2


def test_collator_gives_both_orders_of_a_pair_one_id(make_student, table):
    student, _ = make_student()
    for return_embeddings in (True, False):
        collate = Collator(student, table, return_embeddings=return_embeddings, both_orders=True)
        assert collate([3, 3 + len(table), 7])["pair_id"].tolist() == [3, 3, 7]
        assert "pair_id" not in Collator(student, table, return_embeddings=return_embeddings)([3])
