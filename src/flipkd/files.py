"""Atomic writes: a file or folder appears complete or not at all, with the modes of the umask and checksums.

A file is written under a temporary name beside its final one, flushed, fsynced and renamed. A folder is filled under
a temporary name, every file fsynced, `manifest.json` (sha256 and size of each file) written last, then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from flipkd.errors import ArtefactError, FlipkdError, ResourceError, is_disk_full, shorten
from flipkd.partials import TEMPORARY, clear_stale, new_partial

MANIFEST = "manifest.json"
CARD = "README.md"  # people may edit it; no code depends on its content
OUTGOING = f"{TEMPORARY}old-"
# safetensors, tokenizers and the zip writer of torch report a full disk with errors of their own, without an errno.
DISK_FULL = ("No space left", "Disk quota", "inline_container", "PytorchStreamWriter")


@contextmanager
def resource_errors(path: Path) -> Iterator[None]:
    """Context manager that turns errors of the operating system (full disk, no permission) into ResourceError with the path."""
    try:
        yield
    except FlipkdError:  # ResourceError and RefusedError are OSErrors too
        raise
    except OSError as error:
        raise _resource_error(error, path) from error
    except Exception as error:
        if any(sign in str(error) for sign in DISK_FULL):
            raise _resource_error(OSError(errno.ENOSPC, str(error)), path) from error
        raise


def _resource_error(error: OSError, path: Path) -> ResourceError:
    places = (path, *path.parents)
    if is_disk_full(error):
        free = shutil.disk_usage(next((p for p in places if p.exists()), Path("."))).free
        return ResourceError(f"{path}: the disk is full ({free:,} bytes free); free some, then run the same command")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResourceError(f"{path}: cannot be written ({error.strerror}); choose a folder with write permission")
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and (file := next((p for p in places if p.is_file()), None)):
        return ResourceError(f"{path}: cannot be written, since {file} is a file; choose another folder")
    found = "is a folder; name a file" if error.errno == errno.EISDIR else error.strerror or error
    return ResourceError(f"{path}: {found}")


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Context manager that yields a temporary file; on success it replaces `path`, else it is deleted. Raises ResourceError."""
    path = Path(path)
    with resource_errors(path):
        refuse_special(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = new_partial(path, Path.touch)
        try:
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(lock)
        sync_folder(path.parent)


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file atomically and return its path; errors as in `new_file`."""
    with new_file(path) as temporary, open(temporary, "wb") as handle:
        handle.write(content)
    return Path(path)


def refuse_special(path: Path) -> None:
    """Raise OSError when `path` is a folder, a device or a pipe, which a file would replace."""
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file; choose another name")


def write_text(path: str | Path, content: str) -> Path:
    """Write UTF-8 text atomically; errors as in `write_bytes`."""
    return write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> Path:
    """Write JSON atomically. Raises ValueError for NaN and infinity, which are not valid JSON."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises ArtefactError naming the file when it is missing or not JSON."""
    try:
        value = json.loads(text := Path(path).read_text(encoding="utf-8"))
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # raises for a lone surrogate
        return value
    except (OSError, ValueError, RecursionError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"not readable as JSON ({error})"
        raise ArtefactError(f"{path}: {reason}") from None


@contextmanager
def new_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Context manager that yields a temporary folder to fill; on success it is renamed to `path`, on an exception deleted.

    The manifest is written before the rename. With `replace` an existing folder of that name is moved away first and
    deleted after the rename; a process killed between the two renames leaves it as `.partial-old-NAME`, and the next call
    or `run_lock.locked_run` restores it. Temporary files of other killed processes beside `path` are deleted.
    Raises ResourceError, also when `path` exists and `replace` is false.
    """
    path = Path(path)
    outgoing = path.with_name(f"{OUTGOING}{path.name}")
    with resource_errors(path):
        restore_outgoing(outgoing, path)
        clear_stale(path.parent)
        if path.exists() and not (replace and path.is_dir()):
            raise ResourceError(f"{path}: exists already; choose another name")
        temporary, lock = new_partial(path, partial(Path.mkdir, parents=True))
        try:
            own = temporary.stat().st_ino
            yield temporary
            if temporary.stat().st_ino != own:
                raise ResourceError(
                    f"{path}: another process deleted it while it was written; run the same command again"
                )
            write_manifest(temporary)
            if replace and path.exists():
                os.replace(path, outgoing)
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finally:
            os.close(lock)
            restore_outgoing(outgoing, path)


def restore_outgoing(outgoing: Path, path: Path) -> None:
    """Finish an interrupted replacement: rename the earlier folder back, or delete it if the new one exists."""
    if outgoing.exists() and not path.exists():
        os.replace(outgoing, path)
    shutil.rmtree(outgoing, ignore_errors=True)


def write_manifest(folder: str | Path) -> None:
    """Set modes by the umask, fsync all files in `folder`, then write the manifest, which marks the folder as complete."""
    folder = Path(folder)
    umask = os.umask(0)
    os.umask(umask)
    entries = {}
    with resource_errors(folder):
        files = _files(folder)
        for file in files:
            with open(file, "rb+") as handle:
                os.fchmod(handle.fileno(), 0o666 & ~umask)  # safetensors 0.8 writes 0600 whatever the umask, unsynced
                os.fsync(handle.fileno())
            entries[file.relative_to(folder).as_posix()] = {"sha256": sha256(file), "bytes": file.stat().st_size}
        for parent in {file.parent for file in files}:
            sync_folder(parent)
    write_json(folder / MANIFEST, {"files": entries})


def check_manifest(folder: str | Path) -> None:
    """Raise ArtefactError unless `folder` has a manifest and every file in it exists with the recorded size and sha256."""
    try:
        _check_manifest(Path(folder))
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be read ({error})") from None


def _check_manifest(folder: Path) -> None:
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder")
    if not (folder / MANIFEST).exists():
        raise ArtefactError(
            f"{folder}: has no {MANIFEST}, so saving it did not finish, or it is not a folder of flipkd"
        )
    try:
        entries = dict(read_json(folder / MANIFEST)["files"])
        expected = {name: (entry["sha256"], entry["bytes"]) for name, entry in entries.items()}
    except (KeyError, TypeError, ValueError):
        raise ArtefactError(f"{folder / MANIFEST}: not a manifest of flipkd") from None
    for name, (digest, size) in expected.items():
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtefactError(f"{folder / MANIFEST}: names {shorten(name)}, which is outside the folder")
        if not file.is_file():
            raise ArtefactError(f"{file}: listed in the manifest but missing")
        if name != CARD and (file.stat().st_size != size or sha256(file) != digest):
            raise ArtefactError(f"{file}: sha256 mismatch, the file was changed or damaged after it was saved")


def copy_listed(folder: Path, target: Path, *, inside: str = "") -> None:
    """Copy the files in a folder's manifest, or those in a subfolder `inside/`; other files are not part of the folder."""
    for name in (name for name in read_json(folder / MANIFEST)["files"] if name.startswith(inside)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name)  # without its mode: the source may be read-only


def sha256(path: str | Path) -> str:
    """Return the sha256 of the bytes of a file, as hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_hash(folder: str | Path) -> str:
    """Return one sha256 of the names and bytes of all files in `folder` and its subfolders, as hex."""
    folder = Path(folder)
    with resource_errors(folder):
        stats = [(file, file.stat()) for file in _files(folder)]
        return _folder_hash(folder, tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@lru_cache(maxsize=64)
def _folder_hash(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Cached, since a comparison hashes the same models often; `files` has (path, size, mtime) so that a change is a new key."""
    digest = hashlib.sha256()
    for file, _, _ in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    paths = (p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    return sorted(p for p in paths if not p.name.startswith(TEMPORARY))


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk, so that a rename in it survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
