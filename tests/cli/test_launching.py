"""--num_processes: start of the launcher, its configuration, and exit codes."""

import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher import api

from flipkd import ranks
from flipkd.cli.launching import launch_processes, require_one_process
from flipkd.errors import ConfigError, PeerError, StoppedError, UsageError


def failed(code, *, at=100):
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=code, error_file="none")
    failure.timestamp = at  # seconds
    return failure


@pytest.fixture
def launcher(monkeypatch):
    """What is given to torch's launcher, and what it ends with."""
    seen = SimpleNamespace(config=None, command=None, end=None)

    def elastic_launch(config, entry):
        def start(*arguments):
            seen.config, seen.command = config, (entry, *arguments)
            if seen.end is not None:
                raise seen.end

        return start

    monkeypatch.setattr(api, "elastic_launch", elastic_launch)
    monkeypatch.setattr(sys, "argv", ["flipkd", "train", "--num_processes", "3"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    names = ("OMP_NUM_THREADS", "FLIPKD_SETS_OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME")
    with mock.patch.dict(os.environ):
        for name in names:
            os.environ.pop(name, None)
        yield seen


@pytest.fixture
def of_two(monkeypatch):
    """This process is one of two that a launcher started."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("count", [None, 1])
def test_launch_processes_of_one_starts_no_launcher(launcher, count):
    launch_processes(count)
    assert launcher.config is None


@pytest.mark.parametrize("count", [0, -2])
def test_launch_processes_rejects_an_impossible_count(launcher, count):
    with pytest.raises(UsageError, match=f"--num_processes is {count}; it must be at least 1"):
        launch_processes(count)


def test_launch_processes_starts_the_command_once_per_process(launcher, monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "usable_cores", lambda: 8)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        launch_processes(3)
    assert ended.value.code == 0
    assert launcher.command == (sys.executable, "-m", "flipkd", "train", "--num_processes", "3")
    config = launcher.config
    assert (config.nproc_per_node, config.max_nodes, config.max_restarts) == (3, 1, 0)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert not list(tmp_path.iterdir()), "the launcher's folder of logs is deleted"


def listening():
    """Addresses on which this process listens, in hexadecimal."""
    sockets = set()
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(file))
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


@pytest.mark.scenario("X16")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_use_loopback_sets_the_gloo_interface(launcher, monkeypatch, tmp_path):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    with pytest.raises(SystemExit):
        launch_processes(3)
    assert (launcher.config.rdzv_endpoint, launcher.config.local_addr) == ("localhost:0", "127.0.0.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    before = listening()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert listening() - before <= {"0100007F"}
    finally:
        torch.distributed.destroy_process_group()
    message = " ".join((Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8").split())
    assert "the two ports of torch's rendezvous listen on every address" in message


def test_launch_processes_keeps_a_given_number_of_threads(launcher, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with pytest.raises(SystemExit):
        launch_processes(3)
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_launch_processes_rejects_more_processes_than_gpus(launcher, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="--num_processes is 3, but this machine has 2 GPUs"):
        launch_processes(3)
    assert launcher.config is None


@pytest.mark.parametrize(
    "failures, code",
    [
        ({0: failed(3, at=101), 1: failed(4, at=100)}, 4),  # the first
        ({0: failed(-signal.SIGTERM, at=100), 1: failed(6, at=100)}, 6),  # the launcher ended the other
        ({0: failed(-signal.SIGTERM, at=99), 1: failed(6, at=100)}, 6),
    ],
)
def test_first_exit_code_is_that_of_the_first_failure(launcher, capsys, failures, code):
    launcher.end = ChildFailedError("flipkd", failures)
    with pytest.raises(SystemExit) as ended:
        launch_processes(3)
    assert ended.value.code == code
    assert capsys.readouterr().err == "", "the process has said it itself"


def test_first_exit_code_names_a_killed_rank(launcher, capsys):
    launcher.end = ChildFailedError("flipkd", {0: failed(-signal.SIGTERM), 2: failed(-signal.SIGKILL)})
    with pytest.raises(SystemExit) as ended:
        launch_processes(3)
    assert ended.value.code == PeerError.exit_code
    assert "rank 2 was killed by signal 9" in capsys.readouterr().err


def test_launch_processes_turns_a_signal_into_a_stop(launcher):
    launcher.end = SignalException("stopped", signal.SIGTERM)
    with pytest.raises(StoppedError, match="run the same command to resume"):
        launch_processes(3)


@pytest.mark.parametrize("count", [None, 2])
def test_launch_processes_returns_in_a_process_of_a_launcher(launcher, of_two, count):
    launch_processes(count)
    assert launcher.config is None


def test_launch_processes_rejects_another_count_than_the_launcher(launcher, of_two):
    with pytest.raises(UsageError, match="--num_processes is 3, but the launcher has started 2"):
        launch_processes(3)


def test_require_one_process_rejects_a_launcher(of_two):
    with pytest.raises(UsageError, match="flipkd teach runs in one process"):
        require_one_process("teach")


def test_require_one_process_allows_a_single_process():
    require_one_process("teach")
