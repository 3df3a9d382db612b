"""All exceptions that flipkd raises on purpose, as one tree; each class has the exit code of the command line.

    FlipkdError
     ├── UsageError      2   invalid arguments                          (also ValueError)
     ├── DataError       3   pairs that cannot be used                  (also ValueError)
     ├── ConfigError     4   a setting that cannot be used              (also ValueError)
     ├── ArtefactError   4   a folder that is damaged or does not fit   (also ValueError)
     ├── ResourceError   5   disk, memory, permissions                  (also OSError)
     ├── NumbersError    6   a number that is not finite, or a run that learns nothing (also ArithmeticError)
     ├── RefusedError    7   refused for safety                         (also PermissionError)
     ├── MismatchError   7   an export does not score as its matcher    (also ValueError)
     ├── DriftError      7   new pairs differ from the reference        (also ValueError)
     ├── PeerError       5   another process of the same run failed or was killed
     └── StoppedError   75   stopped by a signal after saving; the same command resumes

A message names the value, where it was found, what is allowed and what to do. Exit code 1 is for bugs in flipkd.
"""

from __future__ import annotations

import errno

MANY = 20  # from more names than this a message lists only the nearest


class FlipkdError(Exception):
    """Base class of all exceptions that flipkd raises on purpose; `exit_code` is used by the command line.

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
    """Invalid arguments of a call."""

    exit_code = 2


class DataError(FlipkdError, ValueError):
    """Pairs that cannot be read or used; the message names file, row and column where they are known."""

    exit_code = 3


class ConfigError(FlipkdError, ValueError):
    """A setting that is unknown, out of range or in conflict with another one, or an extra that is not installed."""

    exit_code = 4


class ArtefactError(FlipkdError, ValueError):
    """A model, store or checkpoint folder that is missing, damaged or belongs to another run or model."""

    exit_code = 4


class ResourceError(FlipkdError, OSError):
    """A full disk, a folder without write permission, or too little memory."""

    exit_code = 5


class NumbersError(FlipkdError, ArithmeticError):
    """A number that is not finite, or a run that provably learns nothing."""

    exit_code = 6


class RefusedError(FlipkdError, PermissionError):
    """A file that would run code from a model, or a path that leads out of its folder."""

    exit_code = 7


class MismatchError(FlipkdError, ValueError):
    """An export whose token ids or scores differ from those of its matcher beyond the bounds, or that is of another matcher."""

    exit_code = 7


class DriftError(FlipkdError, ValueError):
    """Newly scored pairs that differ from their reference; all results are written before it is raised."""

    exit_code = 7


class PeerError(FlipkdError):
    """Another process of the same run failed and reports its own error, or was killed; has its exit code where known."""

    exit_code = 5


class StoppedError(FlipkdError):
    """The run received a signal, saved and stopped; the same command resumes it."""

    exit_code = 75


def shorten(value: object, limit: int = 80) -> str:
    """Return a value for a message: escaped and cut to `limit` characters, so that no long text of a user is shown."""
    # The quotes make a cut text longer than the limit.
    text = ascii(value[:limit]) if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def reason_of(error: BaseException) -> str:
    """Return the message of a library's exception as one escaped line for another message, or its type if it has none."""
    return ascii(" ".join(str(error).split())[:200] or type(error).__name__)[1:-1]


def is_failure(error: BaseException) -> bool:
    """Return whether an error is an Exception, or the panic of a library in Rust, which is not one."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error of the operating system says that the disk, or a quota of it, is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of the machine or of a GPU is used up."""
    # OutOfMemoryError is torch's; by name, since torch may not be imported.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def nearest(name: str, allowed: list[str], *, what: str = "allowed") -> str:
    """Return the end of a message about an unknown name: the nearest allowed name if there is one, then all of them.

    `what` introduces the list. Of more than `MANY` allowed names only the nearest are listed, or the first if none is near.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, allowed, n=6, cutoff=0.5)
    if not close:
        more = f" and {len(allowed) - MANY} more" if len(allowed) > MANY else ""
        return f"{what}: {', '.join(allowed[:MANY])}{more}"
    if len(allowed) > MANY:
        return f"did you mean {close[0]!r}? nearest of the {len(allowed)} {what}: {', '.join(close)}"
    return f"did you mean {close[0]!r}? {what}: {', '.join(allowed)}"
