"""Usable cores by quota and affinity, the set-up of OpenMP, and the warning on a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from command_line import flipkd

from flipkd import cores, ranks
from flipkd.cores import busy_warning, quota_cores, set_threads, set_up_openmp, usable_cores


def quota_of(tmp_path, line, files):
    """quota_cores of a simulated machine: the line of /proc/self/cgroup and the files of the control groups."""
    (tmp_path / "cgroup").write_text(line)
    for name, content in files.items():
        file = tmp_path / "sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return quota_cores(groups=tmp_path / "cgroup", mounted=tmp_path / "sys")


QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/docker/of-the-host\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("4:cpu,cpuacct:/x\n0::/\n", {f"cpu,cpuacct/x/{QUOTA}": "200000", f"cpu,cpuacct/x/{PERIOD}": "100000"}, 2.0),
        ("4:cpu,cpuacct:/x\n", {f"cpu/{QUOTA}": "350000", f"cpu/{PERIOD}": "100000"}, 3.5),
        ("4:cpu:/\n", {f"cpu/{QUOTA}": "-1", f"cpu/{PERIOD}": "100000"}, None),
        ("5:cpuset:/\n", {f"cpuset/{QUOTA}": "100000", f"cpuset/{PERIOD}": "100000"}, None),
        ("0::/\n", {"cpu.max": "torn"}, None),
        ("", {}, None),
    ],
)
def test_quota_cores_reads_both_versions_of_control_groups(tmp_path, line, files, expected):
    assert quota_of(tmp_path, line, files) == expected


def test_quota_cores_is_none_without_control_groups(tmp_path):
    assert quota_cores(groups=tmp_path / "none", mounted=tmp_path) is None


@pytest.mark.parametrize(("bound", "quota", "expected"), [(8, None, 8), (8, 2.5, 2), (2, 6.0, 2), (4, 0.3, 1)])
def test_usable_cores_is_the_minimum_of_quota_and_affinity(monkeypatch, bound, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cores, "quota_cores", lambda: quota)
    assert usable_cores() == expected


@pytest.fixture
def two_of_eight(monkeypatch):
    """Eight cores with a quota of two; the user has set no variable."""
    for name in (cores.THREADS, cores.WAITING, cores.SET_HERE):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it
        monkeypatch.delenv(name)
    monkeypatch.setattr(cores, "_cores_by_affinity", lambda: 8)
    monkeypatch.setattr(cores, "quota_cores", lambda: 2.0)


def test_set_up_openmp_uses_the_quota_and_share_cores_divides_it(two_of_eight):
    set_up_openmp()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"]) == ("passive", "2")
    ranks.share_cores(2)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    set_up_openmp()  # as a child process with these variables does
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_set_up_openmp_keeps_what_the_user_has_set(two_of_eight, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    set_up_openmp()
    set_threads(1)
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"]) == ("active", "5")


def test_set_up_openmp_sets_no_threads_without_a_quota(two_of_eight, monkeypatch):
    monkeypatch.setattr(cores, "quota_cores", lambda: None)
    set_up_openmp()
    assert "OMP_NUM_THREADS" not in os.environ


def test_the_command_line_calls_set_up_openmp_before_torch_is_imported():
    code = (
        "import os, sys; from flipkd.cli import main; sys.argv = ['flipkd', 'check', 'none.csv']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.stdout.write(f\"{'torch' in sys.modules} {os.environ['OMP_WAIT_POLICY']}\")"
    )
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "False passive"


@pytest.mark.parametrize(
    ("threads", "load", "running", "warned"),
    [("2", 4.0, 5, True), ("2", 1.9, 5, False), ("2", 4.0, 2, False), ("1", 9.0, 9, False)],
)
def test_busy_warning_names_the_load_and_the_remedy(monkeypatch, tmp_path, threads, load, running, warned):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(cores, "LOAD", tmp_path / "loadavg")
    (tmp_path / "loadavg").write_text(f"{load} 0.00 0.00 {running}/812 4711\n")
    found = busy_warning()
    assert (found is not None) == warned
    if found:
        assert "4.0 processes wanted its 2 cores" in found
        assert "set OMP_NUM_THREADS=1" in found


def test_busy_warning_is_logged_by_commands_that_compute(monkeypatch, tmp_path):
    monkeypatch.setattr("flipkd.cli.terminal.busy_warning", lambda: "the machine is busy")
    none = tmp_path / "none.csv"
    assert "the machine is busy" in flipkd("match", none, "--matcher", tmp_path).err
    assert "the machine is busy" not in flipkd("check", none).err
