"""Checks that all indexes share: vectors of entries, and the vector and the count of a query."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import DataError, NumbersError, UsageError
from flipkd.index.hits import check_query, check_unit_vectors

UNIT = np.eye(3, 6, dtype=np.float32)


@pytest.mark.parametrize("vectors", [UNIT, UNIT[:0], UNIT * np.float32(1.0009), -UNIT])
def test_check_unit_vectors_accepts_unit_vectors(vectors):
    check_unit_vectors(vectors, len(vectors))


@pytest.mark.scenario("S16")
@pytest.mark.parametrize(
    "vectors, shape",
    [
        (UNIT[:2], r"\[2, 6\]"),
        (UNIT[0], r"\[6\]"),
        (UNIT[:, 0], r"\[3\]"),
        (UNIT[:, None], r"\[3, 1, 6\]"),
        (UNIT[:0], r"\[0, 6\]"),
    ],
)
def test_check_unit_vectors_names_another_number_or_shape(vectors, shape):
    with pytest.raises(DataError, match=f"3 entries need 3 vectors; got an array of shape {shape}"):
        check_unit_vectors(vectors, 3)


@pytest.mark.scenario("S16", "N5")
@pytest.mark.parametrize("length", [np.nan, np.inf, 0.0, 3.0, 1.002])
def test_check_unit_vectors_names_the_first_vector_of_another_length(length):
    vectors = UNIT.copy()
    vectors[1, 1] = length
    with pytest.raises(NumbersError, match=r"the vector of entry 1 is not of unit length; 1 of 3 are not"):
        check_unit_vectors(vectors, 3)


@pytest.mark.parametrize("top_k", [1, 10**9])
def test_check_query_accepts_a_finite_vector_of_the_width(top_k):
    check_query(UNIT[0], width=6, top_k=top_k)


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("top_k", [0, -1])
def test_check_query_names_a_top_k_below_1(top_k):
    with pytest.raises(UsageError, match=f"top_k is {top_k}; it must be an integer of at least 1"):
        check_query(UNIT[0], width=6, top_k=top_k)


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("vector", [UNIT[0, :5], UNIT[:1], np.float32(1)])
def test_check_query_names_a_vector_of_another_shape(vector):
    with pytest.raises(UsageError, match="the index has vectors of width 6"):
        check_query(np.asarray(vector), width=6, top_k=1)


@pytest.mark.scenario("S16", "N5")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_check_query_names_a_vector_that_is_not_finite(value):
    with pytest.raises(NumbersError, match="the vector of the query is not finite"):
        check_query(np.full(6, value, np.float32), width=6, top_k=1)


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("length", [0.0, 0.5, 3.0])
def test_check_query_names_a_vector_that_is_not_of_unit_length(length):
    with pytest.raises(NumbersError, match=rf"has length {length:g}; .*normalize_embeddings=True"):
        check_query(UNIT[0] * np.float32(length), width=6, top_k=1)
