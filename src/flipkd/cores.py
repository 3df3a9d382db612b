"""The cores that this process may use, and how OpenMP uses them; read before torch is loaded.

`os.cpu_count` counts those of the machine. A container has a quota of time from its control group instead (Linux's
documentation: admin-guide/cgroup-v2, scheduler/sched-bwc), and a process may be bound to some cores (taskset, Slurm).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

THREADS, WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
SET_HERE = "FLIPKD_SETS_OMP_NUM_THREADS"  # tells a number that was set here from one that the user has set
GROUPS, MOUNTED, LOAD = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), Path("/proc/loadavg")


def usable_cores() -> int:
    """How many cores this process may use, by affinity and control group; at least 1."""
    found = _bound_to()
    quota = quota_cores()
    return found if quota is None else max(min(found, int(quota)), 1)


def _bound_to() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota_cores(*, groups: Path = GROUPS, mounted: Path = MOUNTED) -> float | None:
    """Cores' worth of time that the control group may use, the least of it and the groups above; None without a quota."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    quotas = [quota for line in lines for quota in _quotas(line, mounted)]
    return min(quotas, default=None)


def _quotas(line: str, mounted: Path) -> Iterator[float]:
    """Quotas of one line `number:controllers:path`; version 2 has no controllers in it."""
    _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
    names = controllers.split(",")
    if controllers and "cpu" not in names:
        return
    tops = [mounted] if not controllers else [mounted / controllers, mounted / "cpu"]
    inside = Path(path.lstrip("/"))
    for top in tops:
        # In a container the path may be that of the host, of which only the top is visible.
        for group in dict.fromkeys([top / inside, *(top / parent for parent in inside.parents)]):
            quota = _quota_of(group, second_version=not controllers)
            if quota is not None:
                yield quota


def _quota_of(group: Path, *, second_version: bool) -> float | None:
    names = ["cpu.max"] if second_version else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    try:
        words = [word for name in names for word in (group / name).read_text(encoding="utf-8").split()]
        quota, period = float(words[0]), float(words[1])  # "max" is no number
    except (OSError, ValueError, IndexError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def set_up_openmp() -> None:
    """Let waiting threads sleep, and start no more of them than the quota has cores; what the user has set stays.

    Must come before torch is loaded. Threads that wait by spinning keep the cores from the threads that they wait for, as
    soon as another process uses a core as well.
    """
    os.environ.setdefault(WAITING, "passive")
    # Affinity OpenMP sees by itself; a process that was started with its share keeps it.
    if THREADS not in os.environ and usable_cores() < _bound_to():
        set_threads(usable_cores())


def set_threads(count: int) -> None:
    """Set OpenMP's number of threads for torch and for processes started from here, unless the user has set it."""
    if THREADS not in os.environ or SET_HERE in os.environ:
        os.environ |= {THREADS: str(count), SET_HERE: "1"}


def busy_warning() -> str | None:
    """What to say where other processes use the cores that several threads are about to share; None where all is well.

    Counted on the whole machine: the load of the last minute, and what can run right now, so that a load which a command
    of one's own has left is no reason.
    """
    threads = os.environ.get(THREADS) or str(usable_cores())
    machine = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads == "1" or load < machine or _running() <= machine:
        return None
    return (
        f"the machine is busy: over the last minute {load:.1f} processes wanted its {machine} cores, which {threads} threads "
        f"would share with them, much slower than alone; wait until the others end, or set {THREADS}=1 (a run that was "
        "begun goes on with its own number of threads)"
    )


def _running() -> float:
    """Threads of the machine that can run right now, this one among them; unlimited where nothing tells."""
    try:
        return int(LOAD.read_text(encoding="ascii").split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return float("inf")
