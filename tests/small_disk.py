"""A small disk in a mount namespace of this process, which tests fill; the process must have one thread."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

NEW_MOUNTS, NEW_USERS = 0x20000, 0x10000000  # CLONE_NEWNS and CLONE_NEWUSER of linux/sched.h
NO_NAMESPACES = 77  # exit code where the machine allows none


class SmallDisk:
    """A tmpfs of `size` bytes at `folder`, which is made; ends the process where mount namespaces are not allowed."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.ballast = folder, folder / "ballast"
        _enter_namespace()
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")

    def leave(self, free: int) -> None:
        """Fill the disk but for `free` bytes."""
        self.ballast.write_bytes(b"")
        found = os.statvfs(self.folder)
        self.ballast.write_bytes(b"0" * max(0, found.f_bavail * found.f_frsize - free))

    def make_read_only(self) -> None:
        """Refuse all writes from now on."""
        self._mount("-o", "remount,ro")

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words, self.folder], check=True)


def _enter_namespace() -> None:
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(NEW_USERS | NEW_MOUNTS):
        number = ctypes.get_errno()
        if number in (errno.EPERM, errno.ENOSYS, errno.ENOSPC):
            sys.exit(NO_NAMESPACES)
        raise OSError(number, os.strerror(number))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", name).write_text(text)
