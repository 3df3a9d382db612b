"""Terminal output: one sentence and an exit code per error; results on stdout, messages on stderr."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import warnings

import pytest
import torch
import typer
from command_line import flipkd

from flipkd import errors
from flipkd.cli import terminal
from flipkd.cli.terminal import compute, quiet_libraries, run, show
from flipkd.errors import DataError

app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
ENDINGS = {
    "data": (errors.DataError("row 3: bad"), 3, "flipkd: row 3: bad"),
    "resource": (errors.ResourceError("disk full"), 5, "flipkd: disk full"),
    "refused": (errors.RefusedError("not run"), 7, "flipkd: not run"),
    "stopped": (errors.StoppedError("saved"), 75, "flipkd: saved"),
    "memory": (MemoryError(), 5, "flipkd: out of memory"),
    "gpu memory": (torch.OutOfMemoryError("CUDA out of memory"), 5, "flipkd: out of memory"),
    "interrupt": (KeyboardInterrupt(), 75, "flipkd: stopped; nothing was written"),
    "bug": (
        ZeroDivisionError("x / 0"),
        1,
        "flipkd: this is a bug in flipkd: ZeroDivisionError: x / 0 (run again with --debug",
    ),
    "long name": (
        OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300),
        5,
        f"flipkd: '{'x' * 76}...: no file or folder can have such a long name; correct the path",
    ),
    "temporary": (
        FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
        5,
        "flipkd: no folder for temporary files can be written; set TMPDIR",
    ),
    "panic": (  # of a library in Rust
        type("PanicException", (BaseException,), {})("index out of bounds"),
        1,
        "flipkd: this is a bug in flipkd: PanicException: index out of bounds",
    ),
    "module": (
        ModuleNotFoundError("No module named 'numpy'", name="numpy.linalg"),
        4,
        "flipkd: the Python module numpy is not installed; pip install flipkd",
    ),
    "own module": (
        ModuleNotFoundError("No module named 'flipkd.x'", name="flipkd.x"),
        1,
        "flipkd: this is a bug in flipkd: ModuleNotFoundError",
    ),
    "missing": (FileNotFoundError(2, "No such file"), 1, "flipkd: this is a bug in flipkd: FileNotFoundError"),
}


@app.callback()
def options(debug: bool = False, verbose: bool = False) -> None:
    """Both may stand anywhere."""


@app.command()
def end(how: str) -> None:
    """End in one of many ways."""
    raise ENDINGS[how][0]


def library(result: str) -> str:
    """A library that prints."""
    print("a line of a library")
    return result


@app.command()
def talk() -> None:
    """A command that uses it."""
    show(compute(library, "the result"))


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["flipkd", *arguments])
    try:
        run(app)
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize("how", ENDINGS)
def test_run_maps_every_exception_to_an_exit_code_and_one_sentence(how, monkeypatch, capsys):
    _, code, expected = ENDINGS[how]
    found, out, err = call(monkeypatch, capsys, "end", how)
    assert (found, out) == (code, "")
    assert err.startswith(expected)
    assert err.count("\n") == 1


def test_run_with_debug_prints_the_traceback_at_any_position(monkeypatch, capsys):
    for arguments in (("--debug", "end", "bug"), ("end", "--debug", "bug"), ("end", "bug", "--verbose", "--debug")):
        code, out, err = call(monkeypatch, capsys, *arguments)
        assert (code, out) == (1, "")
        assert "Traceback" in err
        assert "ZeroDivisionError" in err


def test_run_without_arguments_shows_help(monkeypatch, capsys):
    for arguments in ((), ("--help",)):
        code, out, err = call(monkeypatch, capsys, *arguments)
        assert (code, err) == (0, "")
        assert out.startswith("Usage: flipkd")


def test_usage_message_names_the_help_command(monkeypatch, capsys):
    for arguments, expected in (
        (("nope",), "flipkd: No such command 'nope'. (see: flipkd --help)\n"),
        (("end",), "flipkd: Missing argument 'how'. (see: flipkd end --help)\n"),
        (("end", "data", "--x"), "flipkd: No such option: --x (see: flipkd end --help)\n"),
    ):
        code, out, err = call(monkeypatch, capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.lower() == expected.lower()


def test_compute_redirects_prints_of_libraries(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "talk") == (0, "the result\n", "a line of a library\n")


def test_run_ignores_a_closed_pipe():
    code = "import typer\nfrom flipkd.cli.terminal import run, show\napp = typer.Typer()\n"
    code += "@app.command()\ndef much(n: int) -> None:\n  for _ in range(n): show('line')\nrun(app)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code, "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_quiet_libraries_keeps_the_settings_of_the_user(monkeypatch):
    for name in ("TRANSFORMERS_VERBOSITY", "TQDM_DELAY", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TQDM_DELAY", "0")
    library, hub = logging.getLogger("sentence_transformers"), logging.getLogger("huggingface_hub")
    before = library.level, hub.propagate
    try:
        with warnings.catch_warnings():
            quiet_libraries()
            warnings.warn("of a library", FutureWarning, stacklevel=1)
    finally:
        library.level, hub.propagate = before
    assert os.environ["TQDM_DELAY"] == "0"
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
    for name in ("TRANSFORMERS_VERBOSITY", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["match", "p.csv", "--output", "o.csv"], "; run the same command to resume"),
        (["match", "p.csv", "--output=o.csv"], "; run the same command to resume"),
        (["match", "--matcher", "demo", "p.csv"], ""),
        (["train", "--config", "x"], "; run the same command to resume"),
        (["evaluate", "--matcher", "train"], "; nothing was written"),
    ],
)
def test_resume_hint_depends_on_the_command(arguments, expected):
    assert terminal._resume_hint(arguments) == expected


@pytest.mark.parametrize(
    "arguments", [["search", "caf\udce9", "--matcher", "m", "--index", "i"], ["train", "--output_dir", "r\udce9"]]
)
def test_require_utf8_names_the_bad_argument(arguments):
    done = flipkd(*arguments)
    assert done.code == 3
    assert "bytes that are not UTF-8 (a Latin-1 terminal?)" in done.err
    assert r"\udce9" in done.err
    assert "bug in flipkd" not in done.err


@pytest.mark.scenario("X8")
def test_printable_escapes_control_characters_and_cuts():
    assert terminal.printable("r\u202ew \x1b[31m caf\u00e9\nnext") == "r\\u202ew \\x1b[31m caf\u00e9\nnext"
    long = terminal.printable("\x1b" * 1_700_000)
    assert len(long) < 5 * terminal.MAX_MESSAGE
    assert long.endswith("... (1,700,000 characters)")


HOSTILE = "r\u202ew \x1b[31m"


def test_printable_formatter_escapes_logs_warnings_and_progress(monkeypatch, tmp_path):
    def check(*_, **__):
        logging.getLogger("flipkd.data").warning("column %s", HOSTILE)
        warnings.simplefilter("always")
        warnings.warn(f"key {HOSTILE}", stacklevel=1)
        terminal.print_status(f"path {HOSTILE}")
        raise DataError(f"file {HOSTILE}")

    monkeypatch.setattr("flipkd.commands.check.check", check)
    done = flipkd("--verbose", "check", tmp_path / "a.csv")
    assert done.code == 3
    for what in ("column", "UserWarning: key", "path", "file"):
        assert f"{what} r\\u202ew \\x1b[31m" in done.err
    assert not {"\u202e", "\x1b"} & {*done.err}


@pytest.mark.parametrize("content", [f"text1,text2,label,{HOSTILE}\n", f"text1,text2,{HOSTILE}\na,b,1\n"])
def test_show_rows_escapes_texts_of_files(tmp_path, content):
    file = tmp_path / f"{HOSTILE}.csv"
    file.write_text(content, encoding="utf-8")
    done = flipkd("check", file)
    assert done.code
    assert not {"\u202e", "\x1b"} & {*done.err}
