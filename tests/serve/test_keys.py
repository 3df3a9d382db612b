"""Keys: read from a file, and limits of requests per minute."""

import pytest

from flipkd.errors import ConfigError
from flipkd.serve.keys import MOST_CLIENTS, RateLimits, read_keys

A, B = "a" * 16, "b" * 16


@pytest.mark.parametrize(
    ("text", "expected", "admins"),
    [
        (f"{A}\n", [("the key", A, None)], {"the key"}),
        (f"# ours\nshop {A} 60\nadmin {B}\n", [("shop", A, 60), ("admin", B, None)], {"admin"}),
        (f"shop {A}\nbank {B} 5\n", [("shop", A, None), ("bank", B, 5)], set()),
        (f"shop: {A}\n", [("shop", A, None)], {"shop"}),
        (
            f"shop: {{key: {A}, requests_per_minute: 7}}\nops: {{key: {B}, admin: true}}\n",
            [("shop", A, 7), ("ops", B, None)],
            {"ops"},
        ),
        (f'{{"shop": "{A}", "admin": {{"key": "{B}"}}}}', [("shop", A, None), ("admin", B, None)], {"admin"}),
    ],
)
def test_read_keys_reads_each_format(tmp_path, text, expected, admins):
    (tmp_path / "keys").write_text(text)
    keys = read_keys(tmp_path / "keys")
    assert [(key.name, key.secret, key.per_minute) for key in keys.keys] == expected
    assert keys.admins == admins
    assert keys.find(A.encode()) == keys.keys[0]
    assert keys.find(b"c" * 16) is None
    assert keys.find(b"") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("short", "holds no key"),
        ("é" * 20, "holds no key"),
        (f"shop {A} 60 more", "holds no key in a line of 4 words"),
        (f"shop {A} often", "requests_per_minute must be a whole number"),
        (f"shop {A} 0", "requests_per_minute must be a whole number"),
        (f"shop {A}\nshop {B}", "has a name twice"),
        (f"shop {A}\nbank {A}", "has a key twice"),
        (f"shop: {{key: {A}, limit: 3}}", "shop: has no field 'limit'"),
        ("shop: {requests_per_minute: 3}", "shop: holds no key"),
    ],
)
def test_a_wrong_file_is_refused_without_showing_a_key(tmp_path, text, message):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_keys(tmp_path / "keys")
    assert A not in str(raised.value)


def test_no_more_requests_than_the_limit_within_any_minute():
    now = 0.0
    limits = RateLimits(lambda: now)
    accepted = []
    for step in range(3000):
        now = step * 0.1
        if not limits.retry_after("shop", 10):
            accepted.append(now)
    assert accepted[:10] == pytest.approx([step * 0.1 for step in range(10)])
    assert max(sum(begin <= then < begin + 60 for then in accepted) for begin in accepted) == 10
    assert len(accepted) == 50, "ten in each of five minutes"


def test_retry_after_is_when_the_next_request_is_accepted():
    now = 0.0
    limits = RateLimits(lambda: now)
    assert limits.retry_after("shop", 2) == 0
    now = 10.0
    assert limits.retry_after("shop", 2) == 0
    now = 20.5
    assert limits.retry_after("shop", 2) == 40
    assert limits.retry_after("bank", 2) == 0, "each client has its own"
    now = 60.5
    assert limits.retry_after("shop", 2) == 0


def test_rate_limits_remember_a_bounded_number_of_clients():
    limits = RateLimits(lambda: 0.0)
    for number in range(MOST_CLIENTS + 50):
        limits.retry_after(str(number), 1)
    assert len(limits._times) == MOST_CLIENTS
