"""Training on a disk that is full at one point after another, in a mount namespace of its own: argv = folder, options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from command_line import flipkd

disk, words = Path(sys.argv[1]) / "disk", sys.argv[2:]
SIZE = 3_000_000
ballast = disk / "ballast"


def mount(*options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={SIZE}", *options]), "tmpfs", disk], check=True)


def leave(free: int) -> None:
    """Fill the disk but for `free` bytes."""
    ballast.write_bytes(b"")
    found = os.statvfs(disk)
    ballast.write_bytes(b"0" * max(0, found.f_bavail * found.f_frsize - free))


def left_behind() -> list[str]:
    """What a run that stopped must not leave: temporary files, a matcher."""
    names = [path.name for path in disk.rglob("*")]
    return [name for name in names if name.startswith(".partial-") or name == "matcher"]


disk.mkdir()
mount()
outcomes, free = {}, 0
while True:
    run = disk / "run"
    leave(free)
    done = flipkd("train", *words, "--output_dir", run)
    if done.code == 0:
        break
    if "the disk is full" not in done.err:
        sys.exit(done.err)
    outcomes[free] = [done.code, left_behind()]
    free += 20_000
ballast.unlink()
again = flipkd("train", *words, "--output_dir", run)
if again.code or "already finished" not in again.err:
    sys.exit(again.err)
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
done = flipkd("train", *words, "--output_dir", disk / "other")
outcomes["read-only"] = [done.code, left_behind()[1:]]
print(json.dumps(outcomes))
