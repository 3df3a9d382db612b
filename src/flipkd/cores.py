"""Number of cores that this process may use, and set-up of OpenMP for them, before torch is imported.

`os.cpu_count` returns the cores of the machine. The control group of a container has a quota of CPU time (documentation
of Linux: admin-guide/cgroup-v2, scheduler/sched-bwc), and the process may be bound to some cores (taskset, Slurm).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

THREADS, WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
SET_HERE = "FLIPKD_SETS_OMP_NUM_THREADS"  # marks a number of threads that flipkd has set, not the user
GROUPS, MOUNTED, LOAD = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), Path("/proc/loadavg")


def usable_cores() -> int:
    """Return how many cores this process may use, by affinity and control group; at least 1."""
    bound = _cores_by_affinity()
    quota = quota_cores()
    return bound if quota is None else max(min(bound, int(quota)), 1)


def _cores_by_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota_cores(*, groups: Path = GROUPS, mounted: Path = MOUNTED) -> float | None:
    """Return the CPU quota in cores, the smallest of the control group and its parents; None without a quota."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    quotas = [quota for line in lines for quota in _quotas(line, mounted)]
    return min(quotas, default=None)


def _quotas(line: str, mounted: Path) -> Iterator[float]:
    """Yield the quotas for a line `number:controllers:path` of /proc/self/cgroup; in version 2 controllers is empty."""
    _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
    names = controllers.split(",")
    if controllers and "cpu" not in names:
        return
    tops = [mounted] if not controllers else [mounted / controllers, mounted / "cpu"]
    inside = Path(path.lstrip("/"))
    for top in tops:
        # In a container the path may be one of the host, of which only the top folder is visible.
        for group in dict.fromkeys([top / inside, *(top / parent for parent in inside.parents)]):
            quota = _quota_of(group, second_version=not controllers)
            if quota is not None:
                yield quota


def _quota_of(group: Path, *, second_version: bool) -> float | None:
    names = ["cpu.max"] if second_version else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    try:
        fields = [field for name in names for field in (group / name).read_text(encoding="utf-8").split()]
        quota, period = float(fields[0]), float(fields[1])  # "max" is a ValueError
    except (OSError, ValueError, IndexError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def set_up_openmp() -> None:
    """Set OpenMP to let waiting threads sleep and to start at most one thread per core of the quota.

    Call it before torch is imported. Variables that the user has set are kept. Threads that spin while they wait block
    the cores for the threads that they wait for, as soon as another process uses a core as well.
    """
    os.environ.setdefault(WAITING, "passive")
    # OpenMP reads the affinity itself; a process that inherits a number of threads keeps it.
    if THREADS not in os.environ and usable_cores() < _cores_by_affinity():
        set_threads(usable_cores())


def set_threads(count: int) -> None:
    """Set the number of OpenMP threads for torch and for child processes, unless the user has set it."""
    if THREADS not in os.environ or SET_HERE in os.environ:
        os.environ |= {THREADS: str(count), SET_HERE: "1"}


def busy_warning() -> str | None:
    """Return a warning when other processes use the cores that several threads are about to share, else None.

    Both the load of the last minute and the number of threads that can run now must exceed the cores of the machine, so that
    the load of an earlier command alone gives no warning.
    """
    threads = os.environ.get(THREADS) or str(usable_cores())
    machine = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads == "1" or load < machine or _running() <= machine:
        return None
    return (
        f"the machine is busy: over the last minute {load:.1f} processes wanted its {machine} cores, which {threads} threads "
        f"would share with them, much slower than alone; wait until the others end, or set {THREADS}=1 (a run that "
        "resumes keeps its number of threads)"
    )


def _running() -> float:
    """Return how many threads of the machine can run now, including this one; infinity if unknown."""
    try:
        return int(LOAD.read_text(encoding="ascii").split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return float("inf")
