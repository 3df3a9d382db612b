"""SQLite's way to test writes: call N that changes the disk fails or kills, for N = 1, 2, ... until none is left."""

from __future__ import annotations

import os
import traceback
import warnings

import pytest

from flipkd import files

KILLED = 137
CHANGES = ("replace", "mkdir", "fsync", "fchmod")
REMOVES = ("unlink", "rmdir")  # a kill may come here too; an error here is of no consequence


class Fault:
    """The `number`th call that changes the disk fails; a write that fails has written half of its bytes by then."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, *, code: int | None) -> None:
        self.left, self.code = number, code
        for name in CHANGES + (REMOVES if code is None else ()):
            patch.setattr(os, name, self.guarded(getattr(os, name)))
        patch.setattr(files, "open", self.open, raising=False)

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    @property
    def met(self) -> bool:
        return self.left <= 0

    def strike(self) -> None:
        if self.code is None:
            os._exit(KILLED)
        raise OSError(self.code, os.strerror(self.code))

    def guarded(self, call):
        def guard(*args, **kwargs):
            if self.due():
                self.strike()
            return call(*args, **kwargs)

        return guard

    def open(self, path, mode="r"):
        writes = mode != "rb"
        if writes and self.due():
            self.strike()
        handle = open(path, mode)  # noqa: SIM115  # the caller closes it
        return TornWrites(handle, self) if writes else handle


class TornWrites:
    def __init__(self, handle, fault: Fault) -> None:
        self.handle, self.fault = handle, fault

    def write(self, content: bytes) -> int:
        if self.fault.due():
            self.handle.write(content[: len(content) // 2])
            self.handle.flush()
            self.fault.strike()
        return self.handle.write(content)

    def __getattr__(self, name):
        return getattr(self.handle, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.handle.close()


def in_child(function) -> int:
    """Run `function` in a forked process; its exit code, 1 when it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which the child never uses
        child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def each_error(prepare, work, *, code):
    """`work(place)` on a fresh `prepare()` with call 1, 2, ... failing; yields (place, error) after each run."""
    for number in range(1, 200):
        place = prepare()
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, number, code=code)
            try:
                work(place)
            except Exception as raised:
                error: Exception | None = raised
            else:
                error = None
        if not fault.met:
            assert error is None
            assert number > 4
            return
        yield place, error
    pytest.fail("the faults did not come to an end")


def each_kill(prepare, work, *, step=1):
    """As `each_error`, but the process dies, at every `step`th call; yields the place that it leaves behind."""
    for number in range(1, 200, step):
        place = prepare()

        def run(place=place, number=number):
            Fault(pytest.MonkeyPatch(), number, code=None)
            work(place)

        code = in_child(run)
        if code == 0:
            assert number > 4
            return
        assert code == KILLED
        yield place
    pytest.fail("the kills did not come to an end")
