"""Numbers as text for tables and messages."""

from __future__ import annotations


def figure(value: float, digits: int) -> str:
    """Format a number with at least `digits` significant digits, without an exponent if it is large.

    Examples with two digits: 0.26, 9.8, 100, 12,345, 1.4e-11.
    """
    large = abs(value) >= 10 ** (digits - 1)
    return f"{value:,.0f}" if large else f"{value:.{digits}g}"
