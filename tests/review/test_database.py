"""SQLite file of a review queue: other files are refused, a write is whole or nothing, errors say what is wrong."""

from __future__ import annotations

import errno
import sqlite3
from types import SimpleNamespace

import pytest
from review_queues import filled_queue, vote

from flipkd.errors import ArtefactError, DataError, ResourceError
from flipkd.review import database
from flipkd.review.database import connect, database_errors, transaction
from flipkd.review.queue import ReviewQueue, Vote


def test_connect_makes_a_file_and_opens_it_again_with_synced_writes(tmp_path):
    path = tmp_path / "new" / "q.db"
    for create in (True, False, True):
        connection = connect(path, create=create)
        settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert settings == ["wal", 2]
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
        assert connection.execute("PRAGMA application_id").fetchone()[0] == database.APPLICATION
        connection.close()


def test_connect_refuses_other_files_and_newer_formats(tmp_path):
    path = tmp_path / "q.db"
    with pytest.raises(ArtefactError, match=r"no such review queue; .*--review_queue"):
        connect(path, create=False)
    assert not path.exists()
    path.write_text("text1,text2\n" * 100)
    with pytest.raises(ArtefactError, match="is no review queue, or a damaged one"):
        connect(path, create=True)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(ArtefactError, match="SQLite file of another program"):
        connect(path, create=True)
    path.unlink()
    connection = connect(path, create=True)
    connection.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    connection.close()
    with pytest.raises(ArtefactError, match="needs a newer flipkd"):
        connect(path, create=False)
    with pytest.raises(ResourceError, match="is a file; choose another folder"):
        connect(path / "below.db", create=True)


DAMAGE = [
    "UPDATE pairs SET score = 'high'",
    "UPDATE pairs SET probability = 7",
    "UPDATE pairs SET probability = 1e999",
    "UPDATE pairs SET sampled = 0",
    "UPDATE pairs SET seen = 'often'",
    "UPDATE pairs SET text1 = x'ff'",
    "UPDATE pairs SET teacher_score = x'00'",
    "UPDATE votes SET label = 7",
    "UPDATE votes SET annotator = x'00'",
    "DROP TABLE leases",
    "ALTER TABLE pairs DROP COLUMN reason",
    "CREATE TRIGGER gone AFTER INSERT ON votes BEGIN DELETE FROM pairs; END",
]


@pytest.mark.parametrize("statement", DAMAGE)
def test_connect_refuses_a_queue_that_another_program_has_changed(tmp_path, statement):
    queue = filled_queue(tmp_path / "q.db")
    vote(queue, "ann", {1: 1})
    queue.connection.execute(statement)
    queue.close()
    with pytest.raises(ArtefactError, match=r"restore .* from a copy"):
        connect(tmp_path / "q.db", create=False)


def test_connect_accepts_a_view_of_another_program_beside_the_tables(tmp_path):
    with filled_queue(tmp_path / "q.db") as queue:
        queue.connection.execute("CREATE VIEW doubtful AS SELECT * FROM pairs WHERE probability < 0.6")
    with ReviewQueue(tmp_path / "q.db") as queue:
        assert len(queue.pairs()) == 10


def test_transaction_commits_all_or_nothing(tmp_path):
    connection = connect(tmp_path / "q.db", create=True)
    with pytest.raises(KeyboardInterrupt), transaction(connection):
        connection.execute("INSERT INTO batches VALUES ('a')")
        raise KeyboardInterrupt
    assert not connection.in_transaction
    with transaction(connection):
        connection.execute("INSERT INTO batches VALUES ('b')")
    assert [row[0] for row in connection.execute("SELECT name FROM batches")] == ["b"]
    connection.close()


def test_transaction_raises_the_error_after_which_sqlite_itself_rolled_back(tmp_path):
    connection = connect(tmp_path / "q.db", create=True)
    with pytest.raises(ValueError, match="the first error"), transaction(connection):
        connection.execute("ROLLBACK")
        raise ValueError("the first error")
    connection.close()


def raised(name, message="m"):
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.parametrize(
    "error, expected, message",
    [
        (raised("SQLITE_NOTADB"), ArtefactError, "is no review queue, or a damaged one"),
        (raised("SQLITE_CORRUPT_VTAB"), ArtefactError, "is no review queue, or a damaged one"),
        (raised("SQLITE_BUSY_SNAPSHOT"), ResourceError, "another process has kept the review queue locked"),
        (raised("SQLITE_LOCKED"), ResourceError, "another process has kept the review queue locked"),
        (raised("SQLITE_FULL"), ResourceError, "the disk is full"),
        (raised("SQLITE_READONLY"), ResourceError, "choose a folder with write permission"),
        (raised("SQLITE_CANTOPEN"), ResourceError, "choose a folder with write permission"),
        (raised("SQLITE_ERROR", "no such column: x"), ArtefactError, r"is damaged \('no such column: x'\)"),
        (sqlite3.DatabaseError("without a code"), ArtefactError, "is damaged"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), DataError, "lone surrogate"),
    ],
)
def test_database_errors_are_those_of_flipkd_with_the_path(tmp_path, error, expected, message):
    with pytest.raises(expected, match=message) as caught, database_errors(tmp_path / "q.db"):
        raise error
    assert str(caught.value).startswith(f"{tmp_path / 'q.db'}: ")


@pytest.mark.parametrize("error", [sqlite3.ProgrammingError("a closed database"), ValueError("v")])
def test_database_errors_leave_faults_of_the_program_as_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, database_errors(tmp_path / "q.db"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("free, message", [(0, "the disk is full"), (10**9, "Input/output error")])
def test_database_errors_of_the_device_on_a_full_disk_are_a_full_disk(tmp_path, monkeypatch, free, message):
    monkeypatch.setattr(database.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(ResourceError, match=message) as caught, database_errors(tmp_path / "q.db"):
        raise raised("SQLITE_IOERR_SHMMAP", "disk I/O error")
    assert caught.value.__cause__.errno == (errno.EIO if free else errno.ENOSPC)


def test_database_errors_name_bytes_and_texts_that_are_no_unicode(tmp_path):
    with filled_queue(tmp_path / "q.db") as queue:
        queue.connection.execute("UPDATE pairs SET text2 = CAST(x'ff' AS TEXT)")
        with pytest.raises(ArtefactError, match=r"the review queue is damaged .*decode"):
            queue.pairs()
        with pytest.raises(DataError, match="lone surrogate"):
            queue.add_votes([Vote("\ud800", "ann", 1)], source="test")


def test_database_errors_name_the_lock_of_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT", 0.05)
    with filled_queue(tmp_path / "q.db") as queue, ReviewQueue(tmp_path / "q.db") as other:
        other.connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResourceError, match="another process has kept the review queue locked"):
            vote(queue, "ann", {1: 1})
        assert len(queue.pairs()) == 10, "readers need no lock"
