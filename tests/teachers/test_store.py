"""ScoreStore: cached vectors and scores, damaged files, killed and parallel writers, full disks."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults import each_error

from flipkd.errors import ArtefactError, DataError, NumbersError, ResourceError
from flipkd.teachers.keys import pair_key
from flipkd.teachers.store import ScoreStore

PRINT = "f" * 64


class Fake:
    """Teacher with vectors that depend only on the text; records its inputs."""

    def __init__(self, fingerprint: str = PRINT, width: int = 4) -> None:
        self.fingerprint = fingerprint
        self.width = width
        self.inputs: list[str] = []

    def describe(self) -> dict:
        return {"kind": "fake"}

    def embed(self, texts, *, progress=False):
        self.inputs += texts
        raw = [hashlib.sha256(text.encode()).digest()[: self.width] for text in texts]
        return np.array([[byte / 255 for byte in row] for row in raw], dtype=np.float32).reshape(-1, self.width)


class FakePairs:
    """Teacher with scores that depend only on the pair."""

    fingerprint = PRINT

    def describe(self) -> dict:
        return {}

    def score(self, left, right, *, progress=False):
        return np.array(
            [int(pair_key(a, b)[:3].hex(), 16) / 7 for a, b in zip(left, right, strict=True)], dtype=np.float32
        )


def open_store(folder, fingerprint: str = PRINT) -> ScoreStore:
    return ScoreStore(folder, fingerprint=fingerprint, describe={"kind": "fake"})


def parts(folder) -> list[Path]:
    return sorted(Path(folder, PRINT[:16]).glob("part-*"))


def test_score_store_vectors_are_in_order_and_only_misses_are_computed(tmp_path):
    teacher, store = Fake(), open_store(tmp_path)
    texts = ["b", "a", "b", "c"]
    np.testing.assert_array_equal(store.vectors(texts, teacher), Fake().embed(texts))
    assert sorted(teacher.inputs) == ["a", "b", "c"]
    assert (store.hits, store.misses, len(store)) == (0, 3, 3)
    again = open_store(tmp_path)
    np.testing.assert_array_equal(again.vectors(["d", "c", "a"], teacher), Fake().embed(["d", "c", "a"]))
    assert (again.hits, again.misses, len(again)) == (2, 1, 4)
    assert teacher.inputs.count("c") == 1
    assert again.vectors([], teacher).shape == (0, 4)
    description = json.loads((tmp_path / PRINT[:16] / "teacher.json").read_text())
    assert description == {"fingerprint": PRINT, "kind": "fake"}


def test_score_store_scores_are_stored_or_dot_products_of_vectors(tmp_path):
    left, right = ["a", "b", "a"], ["x", "y", "x"]
    store = open_store(tmp_path / "pairs")
    np.testing.assert_array_equal(store.scores(left, right, FakePairs()), FakePairs().score(left, right))
    assert (len(store), store.misses) == (2, 2)
    assert store.scores([], [], FakePairs()).shape == (0,)
    vectors = open_store(tmp_path / "vectors")
    expected = (Fake().embed(left) * Fake().embed(right)).sum(axis=1)
    np.testing.assert_allclose(vectors.scores(left, right, Fake()), expected, rtol=1e-6)
    assert len(vectors) == 4
    with pytest.raises(DataError, match="1 left texts but 2 right"):
        store.scores(["a"], ["x", "y"], FakePairs())


def test_score_store_has_a_part_on_disk_before_the_next_chunk_is_computed(tmp_path):
    counts = []

    class Watching(Fake):
        def embed(self, texts, *, progress=False):
            counts.append((len(texts), len(parts(tmp_path))))
            return super().embed(texts)

    open_store(tmp_path).vectors([str(i) for i in range(10)], Watching(), chunk_size=4)
    assert counts == [(4, 0), (4, 1), (2, 2)]


@pytest.mark.scenario("C5")
def test_score_store_of_another_fingerprint_reuses_nothing_with_a_warning(tmp_path, caplog):
    open_store(tmp_path).vectors(["a"], Fake())
    other = Fake("e" * 64)
    with caplog.at_level(logging.WARNING, logger="flipkd.teachers.store"):
        store = open_store(tmp_path, other.fingerprint)
    assert "has no outputs of this teacher (eeeeeeeeeeeeeeee), only of others (1)" in caplog.text
    store.vectors(["a"], other)
    assert (store.hits, other.inputs) == (0, ["a"])
    with pytest.raises(ArtefactError, match="cache of teacher eeee"):
        store.vectors(["a"], Fake())


def test_score_store_ignores_parts_of_another_teacher(tmp_path):
    other = Fake("e" * 64)
    open_store(tmp_path, other.fingerprint).vectors(["a"], other)
    open_store(tmp_path).vectors(["b"], Fake())
    [foreign] = (tmp_path / other.fingerprint[:16]).glob("part-*")
    foreign.rename(tmp_path / PRINT[:16] / foreign.name)
    assert len(open_store(tmp_path)) == 1


@pytest.mark.scenario("C9")
def test_score_store_keeps_float32_exactly(tmp_path):
    values = np.nextafter(np.float32(0.9), np.float32(1), dtype=np.float32) + np.arange(
        1000, dtype=np.float32
    ) * np.float32(1e-7)
    values[:2] = [np.finfo(np.float32).tiny, np.finfo(np.float32).max]

    class Exact(Fake):
        def embed(self, texts, *, progress=False):
            return np.array([[values[int(text)]] for text in texts])

    texts = [str(i) for i in range(1000)]
    open_store(tmp_path).vectors(texts, Exact(), chunk_size=300)
    np.testing.assert_array_equal(
        open_store(tmp_path).vectors(texts, Exact())[:, 0].view(np.uint32), values.view(np.uint32)
    )


@pytest.mark.scenario("C6")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_score_store_refuses_nan_with_the_first_row_and_stores_nothing_of_its_chunk(tmp_path, bad):
    class Bad(Fake):
        def embed(self, texts, *, progress=False):
            values = super().embed(texts)
            values[[text in ("37", "39") for text in texts], 2] = bad
            return values

    texts = ["0", *[str(i) for i in range(50)]]
    store = open_store(tmp_path)
    with pytest.raises(NumbersError, match=r"for 2 of the 10 .*first is row 38 \(from 0\): '37'"):
        store.vectors(texts, Bad(), chunk_size=10)
    assert len(open_store(tmp_path)) == 30
    np.testing.assert_array_equal(store.vectors(texts, Fake()), Fake().embed(texts))


def test_score_store_refuses_another_shape_of_vectors(tmp_path):
    store = open_store(tmp_path)
    store.vectors(["a"], Fake())
    with pytest.raises(ArtefactError, match=r"shape \(1, 5\), expected \(1, 4\)"):
        store.vectors(["b"], Fake(width=5))


# --- what is on disk -------------------------------------------------------------------------------------------------


@pytest.mark.scenario("C3")
def test_score_store_finds_a_part_damaged_by_any_flipped_byte(tmp_path, caplog):
    texts = ["a", "b", "c"]
    expected = Fake().embed(texts)
    open_store(tmp_path).vectors(texts, Fake())
    [part] = parts(tmp_path)
    content = part.read_bytes()
    for place in range(len(content)):
        part.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        assert len(open_store(tmp_path)) == 0, place
    assert "its 3 entries will be computed again" in caplog.text
    for damaged in (b"", content[:100], content[:-1], content + b"\0", b"garbage" * 99):
        part.write_bytes(damaged)
        store = open_store(tmp_path)
        np.testing.assert_array_equal(store.vectors(texts, Fake()), expected)
        assert store.misses == 3
    assert len(open_store(tmp_path)) == 3, "the damaged part is replaced by a new one"


@pytest.mark.scenario("C3")
def test_score_store_uses_other_parts_beside_a_damaged_part(tmp_path):
    texts = [str(i) for i in range(12)]
    open_store(tmp_path).vectors(texts, Fake(), chunk_size=4)
    parts(tmp_path)[1].write_bytes(b"torn")
    store, teacher = open_store(tmp_path), Fake()
    assert len(store) == 8
    np.testing.assert_array_equal(store.vectors(texts, teacher), Fake().embed(texts))
    assert len(teacher.inputs) == 4
    assert len(parts(tmp_path)) == 3


@pytest.mark.scenario("C3")
def test_score_store_ignores_invalid_parts_with_valid_names(tmp_path):
    open_store(tmp_path).vectors(["a"], Fake())
    for content in (b"", b"x" * 50, (8).to_bytes(8, "little") + b"{}      "):
        digest = hashlib.sha256(content).hexdigest()
        (tmp_path / PRINT[:16] / f"part-1-{digest}.safetensors").write_bytes(content)
    (tmp_path / PRINT[:16] / "part-.safetensors").write_bytes(b"")
    assert len(open_store(tmp_path)) == 1


CHILD = """
import sys, time
sys.path[:0] = {paths!r}
import test_store
from test_store import Fake, open_store, PRINT
class Slow(Fake):
    def embed(self, texts, *, progress=False):
        print(self.done, flush=True)
        self.done += len(texts)
        time.sleep({nap})
        return super().embed(texts)
teacher = Slow()
store = open_store({folder!r})
teacher.done = len(store)
store.vectors([str(i) for i in range({start}, {stop})], teacher, chunk_size={chunk})
"""


def child(folder: Path, *, nap: float, start: int, stop: int, chunk: int) -> subprocess.Popen:
    here = Path(__file__).parent
    code = CHILD.format(
        paths=[str(here), str(here.parent)], folder=str(folder), nap=nap, start=start, stop=stop, chunk=chunk
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.scenario("C1")
def test_score_store_loses_no_stored_chunk_by_kill_9(tmp_path):
    chance, texts = random.Random(0), [str(i) for i in range(4000)]
    stored = 0
    for _ in range(4):
        process = child(tmp_path, nap=0.002, start=0, stop=4000, chunk=5)
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        message = [int(line) for line in process.communicate()[0].split()]  # entries on disk at the start of a chunk
        stored, before = len(open_store(tmp_path)), stored
        assert stored >= max([before, *message])
    assert 0 < stored < 4000
    store, teacher = open_store(tmp_path), Fake()
    np.testing.assert_array_equal(store.vectors(texts, teacher), Fake().embed(texts))
    assert len(teacher.inputs) == 4000 - stored


@pytest.mark.scenario("C7")
def test_score_store_loses_nothing_of_parallel_writers(tmp_path):
    texts = [str(i) for i in range(300)]
    ranges = [(0, 150), (100, 250), (150, 300)]
    writers = [child(tmp_path, nap=0.001, start=start, stop=stop, chunk=7) for start, stop in ranges]
    for writer in writers:
        _, error = writer.communicate(timeout=60)
        assert writer.returncode == 0, error
    store, teacher = open_store(tmp_path), Fake()
    assert len(store) == 300
    np.testing.assert_array_equal(store.vectors(texts, teacher), Fake().embed(texts))
    assert teacher.inputs == []


def test_open_store_sees_parts_of_other_writers(tmp_path):
    early = open_store(tmp_path)
    open_store(tmp_path).vectors(["a", "b"], Fake())
    teacher = Fake()
    early.vectors(["a", "b"], teacher)
    assert teacher.inputs == []


class Never(Fake):
    def embed(self, texts, *, progress=False):
        pytest.fail("scoring began although the folder cannot be written")


def test_score_store_refuses_a_file_at_the_path_of_its_folder_before_scoring(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(ResourceError, match="store"):
        open_store(tmp_path / "store").vectors(["a"], Never())


def test_score_store_reports_a_full_disk_before_scoring(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ResourceError, match="disk is full"):
        open_store(tmp_path).vectors(["a"], Never())


@pytest.mark.scenario("C8")
@pytest.mark.scenario("C2")
def test_score_store_keeps_stored_chunks_on_a_full_disk_and_the_run_can_resume(tmp_path):
    texts, numbers, teachers = [str(i) for i in range(7)], itertools.count(), []

    def work(folder):
        teachers.append(Fake())
        open_store(folder).vectors(texts, teachers[-1], chunk_size=2)

    kept = set()
    for folder, error in each_error(lambda: tmp_path / str(next(numbers)), work, code=errno.ENOSPC):
        stored = len(open_store(folder))
        if error:
            assert isinstance(error, ResourceError)
            assert f"{folder}/" in str(error)
            assert "the disk is full" in str(error)
            assert stored >= len(teachers[-1].inputs) - 2  # all but the chunk that was being written
        kept.add(stored)
        again = Fake()
        np.testing.assert_array_equal(open_store(folder).vectors(texts, again), Fake().embed(texts))
        assert len(again.inputs) == 7 - stored
    assert kept == {0, 2, 4, 6, 7}


@pytest.mark.skipif(os.name != "posix", reason="drops privileges")
def test_score_store_in_a_read_only_folder_serves_hits_and_refuses_misses_before_scoring(tmp_path):
    folder = tmp_path / "store"
    open_store(folder).vectors(["a"], Fake())
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in [tmp_path, *tmp_path.parents[:3]]:
        path.chmod(path.stat().st_mode | 0o055)
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        found = "?"
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            served = open_store(folder).vectors(["a"], Never())
            found = "served" if (served == Fake().embed(["a"])).all() else "wrong"
            open_store(folder).vectors(["a", "b"], Never())
        except ResourceError as error:
            found += f" ResourceError {error.exit_code}"
        except BaseException as error:
            found += repr(error)
        os.write(writer, found.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(process, 0)
    assert os.read(reader, 1000).decode() == "served ResourceError 5"
    os.close(reader)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_store_needs_no_torch():
    code = "import sys; from flipkd.teachers import store, scores, teacher; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
