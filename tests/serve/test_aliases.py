"""Aliases: shares of clients, stable by a hash."""

from collections import Counter

import pytest

from flipkd.errors import UsageError
from flipkd.serve.aliases import choose, read_aliases

CLIENTS = [f"client {number}" for number in range(4000)]


def test_aliases_keep_shares_and_leave_clients_where_they_were():
    before = {client: choose("live", {"a": 90.0, "b": 10.0}, client) for client in CLIENTS}
    assert Counter(before.values())["b"] == pytest.approx(400, abs=80)
    after = {client: choose("live", {"a": 80.0, "b": 20.0}, client) for client in CLIENTS}
    moved = {(before[client], after[client]) for client in CLIENTS if before[client] != after[client]}
    assert moved == {("a", "b")}, "a larger share takes clients and gives none away"
    assert before == {client: choose("live", {"a": 9.0, "b": 1.0}, client) for client in CLIENTS}
    assert choose("live", {"a": 90.0, "b": 10.0}, "client 7") == "a", "the hash is the same on every machine"


def test_aliases_split_clients_independently_of_each_other():
    chosen = [tuple(choose(alias, {"a": 1.0, "b": 1.0}, client) for alias in ("x", "y")) for client in CLIENTS]
    assert min(Counter(chosen).values()) > 850


def test_aliases_choose_by_chance_without_a_client():
    chosen = Counter(choose("live", {"a": 50.0, "b": 50.0}, None) for _ in range(1000))
    assert min(chosen.values()) > 400


def test_aliases_with_a_share_of_zero_give_it_nobody():
    assert {choose("live", {"a": 0.0, "b": 1.0, "c": 0.0}, client) for client in CLIENTS} == {"b"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"live": "c"}, "no matcher is called 'c'; .*allowed: a, b"),
        ({"a": "b"}, "is the name of a matcher"),
        ({"live": {"a": float("nan")}}, "share of a is nan"),
        ({"live": {"a": True}}, "share of a is True"),
        ({"live": {"a": 0, "b": 0}}, "all shares are 0"),
        ({"live": {}}, "write the name of a matcher"),
    ],
)
def test_read_aliases_refuses_wrong_ones(given, message):
    with pytest.raises(UsageError, match=message):
        read_aliases(given, matchers=["a", "b"])
