"""Every error a user can meet, as one tree; each leaf carries the exit code of the command line.

    FlipkdError
     ├── UsageError      2   invalid arguments                          (also ValueError)
     ├── DataError       3   pairs that cannot be used                  (also ValueError)
     ├── ConfigError     4   a setting that cannot be used              (also ValueError)
     ├── ArtefactError   4   a folder that is damaged or does not fit   (also ValueError)
     ├── ResourceError   5   disk, memory, rights                       (also OSError)
     ├── NumbersError    6   a number that is not finite, or a run that learns nothing (also ArithmeticError)
     ├── RefusedError    7   refused for safety                         (also PermissionError)
     ├── PeerError       5   another process of the same run failed or was killed
     └── StoppedError   75   stopped by a signal after saving; the same command goes on

A message says what was got, where, what is allowed and what to do. Exit code 1 is kept for our own bugs.
"""

from __future__ import annotations


class FlipkdError(Exception):
    """Base class of all errors that flipkd raises on purpose; `exit_code` is that of the command line.

    Examples:
        >>> from flipkd import FlipkdError, Matcher
        >>> try:
        ...     Matcher.from_pretrained("no-such-folder")
        ... except FlipkdError as error:
        ...     type(error).__name__, error.exit_code
        ('ArtefactError', 4)
    """

    exit_code = 1


class UsageError(FlipkdError, ValueError):
    """A call that cannot be carried out as written."""

    exit_code = 2


class DataError(FlipkdError, ValueError):
    """Pairs that cannot be read or used; names file, row and column where they are known."""

    exit_code = 3


class ConfigError(FlipkdError, ValueError):
    """A setting that is unknown, out of range or at odds with another."""

    exit_code = 4


class ArtefactError(FlipkdError, ValueError):
    """A model, store or checkpoint folder that is missing, damaged or belongs to something else."""

    exit_code = 4


class ResourceError(FlipkdError, OSError):
    """A disk that is full, a folder that cannot be written, memory that does not suffice."""

    exit_code = 5


class NumbersError(FlipkdError, ArithmeticError):
    """A value that is not finite, or a run that provably learns nothing."""

    exit_code = 6


class RefusedError(FlipkdError, PermissionError):
    """Something that would run foreign code or leave the folder it was given."""

    exit_code = 7


class PeerError(FlipkdError):
    """Another process of the same run failed, and says why, or was killed; with its exit code where that is known."""

    exit_code = 5


class StoppedError(FlipkdError):
    """The run was asked to stop and has saved; the same command resumes it."""

    exit_code = 75


def shorten(value: object, limit: int = 80) -> str:
    """A value as it may stand in a message: escaped, at most `limit` characters, never a user's whole text."""
    text = ascii(value[:limit]) if isinstance(value, str) else repr(value)  # with its quotes longer than limit if cut
    return text if len(text) <= limit else text[: limit - 3] + "..."


def nearest(name: str, allowed: list[str]) -> str:
    """The end of an error about an unknown name: the nearest spelling, then all that is allowed."""
    from difflib import get_close_matches

    close = get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"
