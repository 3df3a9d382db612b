"""figure: small numbers have the digits that are asked for, large ones all of them and no exponent."""

from __future__ import annotations

from flipkd.figures import figure


def test_figure():
    assert [figure(value, 2) for value in (0.2567, 9.81, 99.6, 100.0, 12345, 1.4e-11)] == [
        "0.26",
        "9.8",
        "100",
        "100",
        "12,345",
        "1.4e-11",
    ]
    assert [figure(value, 4) for value in (0, 1, -272.613, -2726.13, 99999.7)] == [
        "0",
        "1",
        "-272.6",
        "-2,726",
        "100,000",
    ]
