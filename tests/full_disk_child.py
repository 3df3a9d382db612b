"""Training on a disk that is full at one point after another: argv = folder, options."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from command_line import flipkd
from small_disk import SmallDisk

words = sys.argv[2:]
disk = SmallDisk(Path(sys.argv[1]) / "disk", 3_000_000)


def left_behind() -> list[str]:
    """What a run that stopped must not leave: temporary files, a matcher."""
    names = [path.name for path in disk.folder.rglob("*")]
    return [name for name in names if name.startswith(".partial-") or name == "matcher"]


outcomes, free, run = {}, 0, disk.folder / "run"
while True:
    disk.leave(free)
    done = flipkd("train", *words, "--output_dir", run)
    if done.code == 0:
        break
    if "the disk is full" not in done.err:
        sys.exit(done.err)
    outcomes[free] = [done.code, left_behind()]
    free += 20_000
disk.ballast.unlink()
again = flipkd("train", *words, "--output_dir", run)
if again.code or "already finished" not in again.err:
    sys.exit(again.err)
disk.make_read_only()
done = flipkd("train", *words, "--output_dir", disk.folder / "other")
outcomes["read-only"] = [done.code, left_behind()[1:]]
print(json.dumps(outcomes))
