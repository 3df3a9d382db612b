"""SQLite file of a review queue: its schema, its transactions, and its errors as those of flipkd."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flipkd.errors import ArtefactError, DataError, ResourceError, shorten
from flipkd.files import resource_errors

APPLICATION = 0x666B7271  # "fkrq", in the header of the file
VERSION = 1
LEAST_SPACE = 64 * 1024  # bytes
WAIT = 5.0  # seconds for a lock that another process holds
SCHEMA = """
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    shuffle INTEGER NOT NULL,
    text1 TEXT NOT NULL,
    text2 TEXT NOT NULL,
    score REAL NOT NULL,
    probability REAL NOT NULL,
    decision TEXT NOT NULL,
    teacher_score REAL,
    matcher TEXT NOT NULL,
    reason TEXT NOT NULL,
    sampled REAL NOT NULL,
    seen INTEGER NOT NULL,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    labelled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX pairs_to_label ON pairs (labelled DESC, shuffle);
CREATE TABLE votes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    pair INTEGER NOT NULL REFERENCES pairs (id),
    annotator TEXT NOT NULL,
    label INTEGER,
    source TEXT NOT NULL,
    time TEXT NOT NULL,
    UNIQUE (pair, annotator)
);
CREATE TABLE leases (annotator TEXT PRIMARY KEY, pair INTEGER NOT NULL REFERENCES pairs (id), until REAL NOT NULL);
CREATE TABLE batches (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
# Rows with a value that a queue does not write. SQLite stores a value of any type in any column.
WRONG_VALUES = """
SELECT EXISTS (SELECT 1 FROM pairs WHERE typeof(key) || typeof(text1) || typeof(text2) || typeof(decision) || typeof(matcher)
        || typeof(reason) || typeof(first_seen) || typeof(last_seen) <> 'texttexttexttexttexttexttexttext'
    OR typeof(score) <> 'real' OR abs(score) > 1e300 OR typeof(probability) <> 'real' OR probability NOT BETWEEN 0 AND 1
    OR typeof(teacher_score) NOT IN ('real', 'null') OR abs(teacher_score) > 1e300
    OR typeof(sampled) <> 'real' OR sampled NOT BETWEEN 1e-9 AND 1
    OR typeof(seen) <> 'integer' OR seen < 1 OR typeof(labelled) <> 'integer' OR typeof(shuffle) <> 'integer')
OR EXISTS (SELECT 1 FROM votes WHERE typeof(annotator) <> 'text' OR label NOT IN (0, 1) OR typeof(pair) <> 'integer')
"""
# SQLite's primary result codes as errors of the operating system.
SYSTEM = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the file, which other processes may use at the same time; `create` makes a missing one.

    Raises ArtefactError for a missing file, another kind of file or a newer format, ResourceError when it cannot be opened.
    """
    if not create and not path.is_file():
        raise ArtefactError(
            f"{path}: no such review queue; flipkd match and serve make one with --review_queue {path}"
        )
    with resource_errors(path), database_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Threads may share it, one at a time (`background.ReviewThread`).
        connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the schema in an empty file, check that of any other one, and set how writes are synced."""
    with transaction(connection):
        [(application,)], [(version,)] = (
            connection.execute(f"PRAGMA {name}").fetchall() for name in ("application_id", "user_version")
        )
        [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if application != APPLICATION and (application or version or tables):
            raise ArtefactError(
                f"{path}: is an SQLite file of another program; choose another name for the review queue"
            )
        if version > VERSION:
            raise ArtefactError(
                f"{path}: format {version} needs a newer flipkd, this one reads {VERSION}; upgrade flipkd"
            )
        if tables:
            _check_content(connection, path)
        else:
            for statement in filter(str.strip, SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    # Readers and one writer at a time; a killed process loses no commit.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # nor does a power failure
    connection.execute("PRAGMA foreign_keys = ON")


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ArtefactError for tables that are not those of SCHEMA, for a trigger, and for a value of another type."""
    found = {
        name: (kind, _words(sql))
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema")
    }
    wanted = {words.split()[2]: words for words in filter(None, map(_words, SCHEMA.split(";")))}
    missing = [name for name, words in wanted.items() if found.get(name, ("", ""))[1] != words]
    triggers = [name for name, (kind, _) in found.items() if kind == "trigger"]
    if missing or triggers:
        raise ArtefactError(
            f"{path}: {'has a trigger' if triggers else f'the table {missing[0]} is missing or changed'}, so another program "
            "has changed this review queue; restore it from a copy, or choose another name"
        )
    [(wrong,)] = connection.execute(WRONG_VALUES).fetchall()
    if wrong:
        raise ArtefactError(f"{path}: a row has a value of another type; restore the review queue from a copy")


def _words(sql: str | None) -> str:
    return " ".join((sql or "").split())


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Context manager of one write: all of it is committed, or after an exception nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back after some errors
            connection.execute("ROLLBACK")
        raise


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Context manager that turns errors of SQLite into ResourceError, or ArtefactError for a damaged file.

    Raises DataError for a text that is not valid Unicode.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise ArtefactError(
                f"{path}: is no review queue, or a damaged one ({error}); choose another name"
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ResourceError(
                f"{path}: another process has kept the review queue locked for {WAIT:g} seconds; try again"
            ) from error
        if isinstance(error, sqlite3.ProgrammingError):
            raise
        if code not in SYSTEM:
            raise ArtefactError(
                f"{path}: the review queue is damaged ({shorten(str(error), 200)}); restore it from a copy"
            ) from error
        # Without space for its shared memory SQLite reports an error of the device.
        is_full = code == sqlite3.SQLITE_IOERR and shutil.disk_usage(path.parent).free < LEAST_SPACE
        number = errno.ENOSPC if is_full else SYSTEM[code]
        with resource_errors(path):
            raise OSError(number, os.strerror(number)) from error
    except UnicodeEncodeError:
        raise DataError(
            f"{path}: a text has a lone surrogate (\\ud800 to \\udfff), which is not valid Unicode"
        ) from None
