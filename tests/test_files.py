"""Atomic writes: each system call that changes the disk fails, or kills the process, once."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from faults import each_error, each_kill, in_child
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd import files, run_lock
from flipkd.errors import ArtefactError, RefusedError, ResourceError
from flipkd.files import check_manifest, new_folder, read_json, write_bytes, write_json, write_manifest, write_text
from flipkd.run_lock import locked_run

OLD, NEW = b"old " * 50, b"the new content " * 20


@pytest.fixture(autouse=True)
def synced(monkeypatch) -> list[str]:
    """List of fsyncs and renames in order."""
    calls: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(f"sync {Path(f'/proc/self/fd/{handle}').resolve()}"))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append(f"rename {new}"), replace(old, new))[1])
    return calls


@pytest.fixture
def fresh(tmp_path):
    """`fresh()` -> a new empty folder."""
    numbers = iter(range(10_000))

    def make() -> Path:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    return make


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock", run_lock.RUN}


def assert_explained(error, place: Path, code: int) -> None:
    if error is None:  # pathlib ignores the error of mkdir when the folder exists
        return
    assert type(error) is ResourceError
    assert re.match(f"{place.parent}/(.partial-........-)?{place.name}\\b", str(error))
    assert ("the disk is full" if code == errno.ENOSPC else "Input/output error") in str(error)


# One file


@pytest.fixture(params=[None, OLD], ids=["absent", "present"])
def before(request):
    return request.param


@pytest.fixture
def with_file(fresh, before):
    def prepare() -> Path:
        folder = fresh()
        if before is not None:
            (folder / "file").write_bytes(before)
        return folder

    return prepare


def write_file(place: Path) -> None:
    write_bytes(place / "file", NEW)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_the_old_file_or_the_new_one(with_file, before, code):
    for place, error in each_error(with_file, write_file, code=code):
        assert_explained(error, place / "file", code)
        assert content(place / "file") in ((before, NEW) if error else (NEW,))
        assert names(place) <= {"file"}


def test_a_killed_write_leaves_the_old_file_or_the_new_one(with_file, before):
    for place in each_kill(with_file, write_file):
        assert content(place / "file") in (before, NEW)
        assert all(name.startswith(files.TEMPORARY) for name in names(place) - {"file"})


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def test_write_bytes_makes_folders_and_returns_the_path(tmp_path):
    assert write_bytes(str(tmp_path / "a" / "b" / "file"), NEW) == tmp_path / "a" / "b" / "file"
    assert content(tmp_path / "a" / "b" / "file") == NEW


@pytest.mark.scenario("A7")
@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_and_new_folder_have_the_modes_of_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", NEW)
        with new_folder(tmp_path / "folder") as folder:
            (folder / "sub").mkdir()
            for made in (0o600, 0o666):  # as safetensors makes them, and as anyone
                os.close(os.open(folder / "sub" / f"{made:o}", os.O_CREAT | os.O_WRONLY, made))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {mode}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of open files in /proc")
def test_write_bytes_and_new_folder_sync_bytes_before_the_name_and_the_name_before_the_return(tmp_path, synced):
    write_bytes(tmp_path / "file", NEW)
    temporary, *rest = synced
    assert temporary.startswith(f"sync {tmp_path}/{files.TEMPORARY}")
    assert rest == [f"rename {tmp_path}/file", f"sync {tmp_path}"]

    synced.clear()
    with new_folder(tmp_path / "model") as folder:
        for name in ("a.bin", "sub/b.bin"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(NEW)
    manifest = synced.index(f"rename {folder}/manifest.json")
    assert {f"sync {folder}{name}" for name in ("/a.bin", "/sub/b.bin", "", "/sub")} == set(synced[: manifest - 1])
    assert synced[manifest + 1 :] == [f"sync {folder}", f"rename {tmp_path}/model", f"sync {tmp_path}"]


# A folder


def fill(folder: Path, word: bytes) -> None:
    write_bytes(folder / "a.bin", word)
    write_bytes(folder / "sub" / "b.bin", word[::-1])


def state(folder: Path) -> bytes | None:
    """Return the content of a complete folder, None when it does not exist; anything else is an AssertionError."""
    if not folder.exists():
        return None
    check_manifest(folder)
    word = (folder / "a.bin").read_bytes()
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "a.bin",
        "sub/b.bin",
        "manifest.json",
    }
    assert (folder / "sub" / "b.bin").read_bytes() == word[::-1]
    return word


@pytest.fixture
def with_folder(fresh, before):
    def prepare() -> Path:
        place = fresh()
        if before is not None:
            (place / "model").mkdir()
            fill(place / "model", before)
            write_manifest(place / "model")
        return place

    return prepare


def write_folder(place: Path) -> None:
    replace = (place / "model").exists()
    with new_folder(place / "model", replace=replace) as folder:
        fill(folder, NEW)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_new_folder_that_fails_leaves_the_old_one_or_the_new_one(with_folder, before, code):
    for place, error in each_error(with_folder, write_folder, code=code):
        assert_explained(error, place / "model", code)
        assert state(place / "model") in ((before, NEW) if error else (NEW,))
        assert names(place) <= {"model"}


@pytest.mark.slow
@pytest.mark.scenario("A3")
def test_new_folder_that_was_killed_is_restored_by_the_next_locked_run(with_folder, before):
    aside = 0
    for place in each_kill(with_folder, write_folder):
        aside += before is not None and not (place / "model").exists()
        restored_by_new_folder(shutil.copytree(place, place.with_name(f"{place.name}-copy")), before)
        with locked_run(place, {}):
            assert state(place / "model") in (before, NEW)
            assert names(place) <= {"model"}
    assert aside == (before is not None)  # between the two renames, and nowhere else


def restored_by_new_folder(place: Path, before: bytes | None) -> None:
    with pytest.raises(KeyError), new_folder(place / "model", replace=True) as folder:
        fill(folder, b"a third content")
        raise KeyError("the body fails")
    assert state(place / "model") in (before, NEW)


def test_new_folder_does_not_overwrite_a_restored_folder(tmp_path):
    fill(tmp_path / f"{files.OUTGOING}model", OLD)
    write_manifest(tmp_path / f"{files.OUTGOING}model")
    with pytest.raises(ResourceError, match="exists already"), new_folder(tmp_path / "model"):
        pass
    assert state(tmp_path / "model") == OLD


@pytest.mark.scenario("A8")
def test_an_existing_folder_or_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(ResourceError, match=f"{tmp_path}/folder: exists already"), new_folder(tmp_path / "folder"):
        pass
    for replace in (False, True):
        with (
            pytest.raises(ResourceError, match="file: exists already"),
            new_folder(tmp_path / "file", replace=replace),
        ):
            pass
    assert content(tmp_path / "file") == OLD
    assert names(tmp_path) == {"file", "folder"}


def test_new_folder_keeps_a_folder_that_another_process_made_meanwhile(tmp_path):
    with pytest.raises(ResourceError, match="not empty"), new_folder(tmp_path / "model") as folder:
        fill(folder, NEW)
        fill(tmp_path / "model", OLD)
        write_manifest(tmp_path / "model")
    assert state(tmp_path / "model") == OLD
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RefusedError("pickle"), ArtefactError("x"), ValueError("y")])
def test_new_folder_passes_on_the_exception_of_its_block_and_leaves_nothing(tmp_path, raised):
    with pytest.raises(type(raised)) as caught, new_folder(tmp_path / "model") as folder:
        fill(folder, NEW)
        raise raised
    assert caught.value is raised
    assert names(tmp_path) == set()


def test_new_folder_names_the_folder_in_system_errors_of_its_block(tmp_path):
    with pytest.raises(ResourceError, match=f"{tmp_path}/model: the disk is full"), new_folder(tmp_path / "model"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == set()


# The manifest


@pytest.fixture
def unsealed(fresh):
    def prepare() -> Path:
        folder = fresh()
        fill(folder, NEW)
        return folder

    return prepare


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failed_manifest_is_absent_or_whole(unsealed, code):
    for folder, error in each_error(unsealed, write_manifest, code=code):
        assert_explained(error, folder, code)
        assert names(folder) - {"a.bin", "sub"} in (set(), {"manifest.json"})
        assert_sealed_or_not(folder)
        assert error or state(folder) == NEW


@pytest.mark.slow
@pytest.mark.scenario("A3")
def test_a_killed_manifest_is_absent_or_whole(unsealed):
    for folder in each_kill(unsealed, write_manifest):
        assert_sealed_or_not(folder)
        write_manifest(folder)
        assert set(read_json(folder / "manifest.json")["files"]) == {"a.bin", "sub/b.bin"}
        check_manifest(folder)


def assert_sealed_or_not(folder: Path) -> None:
    if (folder / "manifest.json").exists():
        assert state(folder) == NEW
    else:
        with pytest.raises(ArtefactError, match=r"has no manifest\.json"):
            check_manifest(folder)


@pytest.fixture
def sealed(tmp_path) -> Path:
    with new_folder(tmp_path / "model") as folder:
        fill(folder, b"weights of a model")
    return tmp_path / "model"


def test_write_manifest_lists_every_file_with_its_size(sealed):
    entries = read_json(sealed / "manifest.json")["files"]
    assert {name: entry["bytes"] for name, entry in entries.items()} == {"a.bin": 18, "sub/b.bin": 18}
    assert entries["a.bin"]["sha256"] == files.sha256(sealed / "a.bin")
    check_manifest(sealed)


@pytest.mark.parametrize("name", ["a.bin", "sub/b.bin", "manifest.json"])
def test_every_flipped_cut_or_missing_byte_is_found(sealed, name):
    whole = (sealed / name).read_bytes()
    damaged = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    cut = [whole[:i] for i in range(0, len(whole) - 1, 5)]  # the manifest's last byte is a newline, which may go
    for damage in [*damaged, *cut, whole + b"x"]:
        (sealed / name).write_bytes(damage)
        with pytest.raises(ArtefactError, match=f"^{sealed}"):
            check_manifest(sealed)
    (sealed / name).unlink()
    with pytest.raises(ArtefactError, match="missing" if name != "manifest.json" else "has no manifest"):
        check_manifest(sealed)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "{}", '{"files": 3}', '{"files": ["a"]}', '{"files": {"a.bin": 3}}', "[" * 100_000]
    + ['{"files": {"a.bin": {"sha256": "0"}}}', '{"files": {"a.bin": {"bytes": 18}}}', "\ud800"],
)
def test_check_manifest_refuses_a_malformed_manifest(sealed, text):
    (sealed / "manifest.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ArtefactError, match=r"manifest\.json: not a manifest of flipkd"):
        check_manifest(sealed)


@pytest.mark.scenario("X6")
@pytest.mark.parametrize("name", ["a.bin\0", "x" * 5000, "../model", ""])
def test_a_name_that_is_no_file_of_the_folder_is_an_error_of_ours(sealed, name):
    write_json(sealed / "manifest.json", {"files": {name: {"sha256": "0", "bytes": 18}}})
    with pytest.raises(ArtefactError, match=r"missing|cannot be read|outside the folder"):
        check_manifest(sealed)


def test_check_manifest_names_a_missing_folder(tmp_path):
    with pytest.raises(ArtefactError, match="no such folder"):
        check_manifest(tmp_path / "nowhere")


# A real full disk, real permissions

FULL_DISK = """
import json, os, sys
from pathlib import Path
from flipkd.errors import ResourceError
from flipkd.files import check_manifest, new_folder, write_bytes

place = Path(sys.argv[1])
os.setuid(65534)
write_bytes(place / "file", b"old" * 1000)
with new_folder(place / "model") as folder:
    (folder / "a.bin").write_bytes(b"old" * 1000)
said = []
for work in ("file", "folder"):
    try:
        if work == "file":
            write_bytes(place / "file", bytes(2_000_000))
        else:
            with new_folder(place / "model", replace=True) as folder:
                (folder / "a.bin").write_bytes(bytes(2_000_000))
    except ResourceError as error:
        said.append(str(error))
check_manifest(place / "model")
write_bytes(place / "after", bytes(500_000))
kept = [(place / name).read_bytes() == b"old" * 1000 for name in ("file", "model/a.bin")]
print(json.dumps({"said": said, "kept": kept, "names": sorted(os.listdir(place))}))
"""


@pytest.fixture
def public():
    """A folder that other users can open, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_write_bytes_and_new_folder_report_a_real_full_disk_and_keep_the_old_files(public):
    mount = f'mount -t tmpfs -o size=1m,uid=65534 none "{public}"'
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-m", "sh", "-c", mount], stderr=subprocess.DEVNULL, check=False).returncode
    ):
        pytest.skip("a file system of its own needs root and unshare")
    command = f'{mount} && exec "$0" -c "$1" "{public}"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, sys.executable, FULL_DISK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kept"] == [True, True]
    assert told["names"] == ["after", "file", "model"]
    for said, name in zip(told["said"], ("file", "model"), strict=True):
        assert said.startswith(f"{public / name}: the disk is full (")
        assert "free some, then run" in said


@pytest.fixture
def shut(public):
    """A folder that all users may read and none may write to."""
    folder = public
    (folder / "file").write_bytes(OLD)
    (folder / "locked").mkdir(0o700)
    folder.chmod(0o555)
    return folder


def as_nobody(function) -> int:
    def run():
        if os.getuid() == 0:  # root may write everywhere
            os.setuid(65534)
        function()

    return in_child(run)


def test_files_in_a_folder_without_rights_are_named(shut):
    def work():
        for name, act in {
            "file": lambda: write_bytes(shut / "file", NEW),
            "sub": lambda: write_bytes(shut / "sub" / "file", NEW),
            "model": lambda: new_folder(shut / "model").__enter__(),
            ".lock": lambda: locked_run(shut, {}).__enter__(),
        }.items():
            with pytest.raises(ResourceError, match=r"cannot be written \(Permission denied\); choose") as caught:
                act()
            assert str(caught.value).startswith(str(shut if name == ".lock" else shut / name))

    assert as_nobody(work) == 0
    assert content(shut / "file") == OLD
    assert names(shut) == {"file", "locked"}


@pytest.mark.skipif(os.getuid() != 0, reason="the owner can always read")
def test_check_manifest_of_a_folder_that_cannot_be_read_is_an_error_of_flipkd(shut):
    def work():
        for name in ("locked", "locked/model"):
            with pytest.raises(ArtefactError, match=f"{shut / name}: cannot be read"):
                check_manifest(shut / name)
        with pytest.raises(ResourceError, match="Permission denied"), new_folder(shut / "locked" / "model"):
            pass

    assert as_nobody(work) == 0


# JSON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
@settings(deadline=None, max_examples=40)
def test_read_json_returns_what_write_json_wrote(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, value)
    assert json.dumps(read_json(path)) == json.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, [-float("inf")]])
def test_numbers_that_json_lacks_are_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "file", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", value)
    assert read_json(tmp_path / "file") == "old"
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b"1" * 5000, b'{"a": 1}}', b'{"a": "\\ud800"}']
)
def test_read_json_names_a_file_that_is_not_json(tmp_path, raw):
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(ArtefactError, match=f"{tmp_path}/file: not readable as JSON"):
        read_json(tmp_path / "file")


def test_read_json_names_a_missing_file(tmp_path):
    with pytest.raises(ArtefactError, match=f"{tmp_path}/nowhere: no such file"):
        read_json(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match="not readable as JSON"):
        read_json(tmp_path)


def test_write_text_never_replaces_a_pipe_or_a_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, said in (("pipe", "not a regular file"), ("folder", "is a folder; name a file")):
        with pytest.raises(ResourceError, match=said):
            write_text(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_new_folder_fails_when_its_temporary_folder_was_deleted(tmp_path):
    with (
        pytest.raises(ResourceError, match="another process deleted it"),
        new_folder(tmp_path / "f") as temporary,
    ):
        shutil.rmtree(temporary)
        (temporary.parent / "takes the inode").write_text("")
        write_text(temporary / "a", "x")
    assert not (tmp_path / "f").exists()


def test_check_manifest_allows_changes_of_the_card_alone(tmp_path):
    with new_folder(tmp_path / "f") as temporary:
        write_text(temporary / "README.md", "card")
        write_text(temporary / "matcher.json", "{}")
    (tmp_path / "f" / "README.md").write_text("my own")
    check_manifest(tmp_path / "f")
    (tmp_path / "f" / "matcher.json").write_text("[]")
    with pytest.raises(ArtefactError, match=r"matcher\.json: sha256 mismatch"):
        check_manifest(tmp_path / "f")


@pytest.mark.scenario("X6", "A10")
@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../outside"])
def test_a_manifest_names_no_file_outside_of_its_folder(tmp_path, name):
    (tmp_path / "outside").write_text("x")
    folder = tmp_path / "f"
    folder.mkdir()
    entry = {"sha256": files.sha256(tmp_path / "outside"), "bytes": 1}
    files.write_json(folder / "manifest.json", {"files": {name: entry}})
    with pytest.raises(ArtefactError, match="which is outside the folder"):
        files.check_manifest(folder)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("x")
    with pytest.raises(ResourceError, match=r"train\.csv/a/b\.txt: cannot be written, since .*train\.csv is a file"):
        write_text(tmp_path / "train.csv" / "a" / "b.txt", "x")
