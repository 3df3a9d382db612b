"""Writes of a LanceDB index: versions, upserts, deletes, rollback; a process that is killed loses nothing it has reported."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from filelock import FileLock
from lance_writer import ROWS, WIDTH, batch, make, vectors
from small_disk import NO_NAMESPACES

from flipkd.errors import ConfigError, DataError, ResourceError, UsageError
from flipkd.index import open_index
from flipkd.index.writing import compact, delete, rollback, upsert, versions

CHILD = Path(__file__).parents[1] / "lance_writer.py"
KILLS = 5  # of each kind of work


def writing(folder: Path, kind: str) -> forked.Forked:
    """Start a process that writes to the index until it is killed."""
    return forked.Forked([sys.executable, CHILD, folder, kind], stdout=subprocess.PIPE, text=True)


def batches(index) -> dict[int, int]:
    """Number of entries of each batch."""
    found: dict[int, int] = {}
    for entry in index.entries():
        found[entry["batch"]] = found.get(entry["batch"], 0) + 1
    return found


@pytest.mark.slow
def test_upsert_and_delete_make_one_version_each_and_rollback_returns_to_any(tmp_path):
    index = make(tmp_path / "index")
    change = upsert(index, batch(1), vectors(ROWS, seed=1))
    assert change == (2, ROWS, 0, 0)
    changed = [entry | {"text": "new", "batch": 9} for entry in batch(1)[:3]]
    assert upsert(index, changed, vectors(3, seed=9)) == (3, 0, 3, 0)
    assert batches(index) == {0: ROWS, 1: ROWS - 3, 9: 3}
    assert delete(index, ids=["1-0", "unknown'"]) == (4, 0, 0, 1)
    assert delete(index, ids=["1-0"]) == (4, 0, 0, 0)  # nothing to delete, so no version
    assert delete(index, where="batch in (0, 9)").deleted == ROWS + 2
    assert [row["entries"] for row in versions(index)] == [ROWS - 3, 2 * ROWS - 1, 2 * ROWS, 2 * ROWS, ROWS]
    assert rollback(index, 2).version == 6
    assert batches(open_index(tmp_path / "index")) == {0: ROWS, 1: ROWS}
    with pytest.raises(ConfigError, match="no version 99; it has 6, 5"):
        rollback(index, 99)
    compact(index, keep_days=0)  # of its own versions, it may keep one that is less than a millisecond old
    assert min(row["version"] for row in versions(index)) > 6
    assert batches(open_index(tmp_path / "index")) == {0: ROWS, 1: ROWS}


def test_upsert_and_delete_change_nothing_when_they_cannot_write(tmp_path):
    index = make(tmp_path / "index")
    good, unit = batch(1), vectors(ROWS, seed=1)
    for entries, numbers, error, word in (
        (good + good[:1], vectors(ROWS + 1, seed=1), DataError, "occurs twice, in entries 1 and 9"),
        ([good[0] | {"id": " "}], unit[:1], DataError, "the id ' ' is not"),
        ([good[0] | {"batch": "x"}], unit[:1], DataError, "is not of type int"),
        ([good[0] | {"batch": 2**63}], unit[:1], DataError, "is not of type int"),
        ([good[0] | {"other": 1}], unit[:1], DataError, "keeps these columns: batch"),
        ([good[0] | {"text": "\ud800"}], unit[:1], DataError, "surrogate"),
        (good, unit * 2, Exception, "not of unit length"),
        (good, unit[:2], DataError, "8 entries need 8 vectors"),
        (good, vectors(ROWS, seed=1, width=WIDTH + 1), UsageError, "width"),
    ):
        with pytest.raises(error, match=word):
            upsert(index, entries, numbers)
    with pytest.raises(DataError, match="has no entry '1-0' and 7 others"):
        upsert(index, good, unit, existing_only=True)
    with pytest.raises(UsageError, match="not both"):
        delete(index)
    assert upsert(index, [], unit[:0]).version == 1
    assert batches(index) == {0: ROWS}


def test_upsert_writes_in_one_process_at_a_time(tmp_path):
    index = make(tmp_path / "index")
    with FileLock(index.folder / ".lock", thread_local=False) as lock:
        with pytest.raises(ResourceError, match="another process is writing"):
            upsert(index, batch(1), vectors(ROWS, seed=1))
        assert len(open_index(tmp_path / "index").hits(vectors(1, seed=0)[0], top_k=3)) == 3  # readers do not wait
        threading.Timer(0.3, lock.release, kwargs={"force": True}).start()
        upsert(index, batch(1), vectors(ROWS, seed=1), patience=10)
    assert batches(index) == {0: ROWS, 1: ROWS}


@pytest.mark.scenario("S10")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked")
@pytest.mark.parametrize("kind", ["add", "compact"])
def test_upsert_and_compact_in_a_killed_process_lose_no_write_that_it_reported(tmp_path, kind):
    make(tmp_path / "index")
    chance = random.Random(kind)
    words = [sys.executable, "-W", "ignore", CHILD, tmp_path / "index", kind, "again"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        for _ in range(KILLS):
            child.stdin.write("\n")
            writer = int(child.stdout.readline())
            lines = [child.stdout.readline() for _ in range(chance.randint(1, 3))]
            time.sleep(chance.uniform(0, 0.02))  # about as long as a write: the kill comes at any of its steps
            os.kill(writer, signal.SIGKILL)
            lines += iter(child.stdout.readline, "end\n")
            reported = {int(line[1:]): line[0] == "+" for line in lines}
            found = batches(open_index(tmp_path / "index"))  # checks the files against the manifest
            assert set(found.values()) == {ROWS}, "a write is there as a whole or not at all"
            last = max(reported)
            kept = {number for number, there in reported.items() if there}
            assert kept <= set(found) | ({last + 1} if kind == "compact" else set())
            assert set(found) - kept <= {0, last + 1}, "more than the one write that was under way"
            make_again(tmp_path / "index")


def make_again(folder: Path) -> None:
    """Leave only the first batch, by the writes themselves: the index goes on after the kill."""
    index = open_index(folder)
    delete(index, where="batch > 0", patience=5)
    compact(index, keep_days=0, patience=5)
    assert batches(open_index(folder)) == {0: ROWS}


@pytest.mark.scenario("S16")
@pytest.mark.slow
def test_hits_are_of_complete_versions_while_another_process_writes(tmp_path):
    index = make(tmp_path / "index")
    query = vectors(1, seed=7)[0]
    with writing(tmp_path / "index", "compact") as child:
        child.stdout.readline()
        seen: set[int] = set()
        end = time.monotonic() + 60
        while len(seen) < 8:  # writes of the other process are seen
            assert time.monotonic() < end
            hits = index.hits(query, top_k=10_000)
            counts = np.unique([hit.entry["batch"] for hit in hits], return_counts=True)[1]
            assert set(counts) == {ROWS}
            seen.add(len(hits))
        child.kill()


@pytest.mark.scenario("S10")
@pytest.mark.slow
def test_upsert_delete_and_compact_on_a_full_disk_are_exit_code_5_and_leave_the_index_whole(tmp_path):
    done = forked.run(CHILD.with_name("full_disk_index_child.py"), tmp_path)
    if done.returncode == NO_NAMESPACES:
        pytest.skip("no mount namespaces here")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    outcomes = json.loads(done.stdout)
    for name, change in (("upsert", ROWS), ("delete", -1), ("compact", 0)):
        assert outcomes[name], name
        for code, says_full, seen in outcomes[name]:
            assert (code, says_full) == (5, True), (name, outcomes[name])
            assert seen in (0, change), name
