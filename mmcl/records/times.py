"""Spans of time, as a person would say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Whole seconds, minutes or hours.

    >>> duration(59), duration(200), duration(7260)
    ('59 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def about(seconds: float) -> str:
    """What is a guess, or long ago, needs no seconds beyond the first minute.

    >>> about(12.3), about(200), about(7260), about(10800)
    ('12 s', '3 min', '2 h 1 min', '3 h')
    """
    minutes = round(seconds / 60)
    if minutes < 1:
        return duration(seconds)
    return f"{minutes} min" if minutes < 60 else duration(60 * minutes).removesuffix(" 0 min")
