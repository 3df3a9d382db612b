"""Tables in a terminal: width, alignment of numbers, hidden columns, no colour on request."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
from pathlib import Path

import pytest
from command_line import flipkd
from forked import Forked

from flipkd.cli import terminal
from flipkd.commands.results import text_table

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")
HEADER = ["data", "system", "score", "F1", "AP", "accuracy", "AUC", "ECE", "seeds", "seconds", "GiB"]
FIGURES = ["0.812 ± 0.034"] * 5
WIDE = text_table(
    HEADER,
    [
        ["bank", "plain+teacher_finetuned", "answer+cosine*", *FIGURES, "3", "12", "1.5"],
        ["bank", "teacher", "cosine", *["0.799"] * 4, "-", "3", "1,200", "0.3"],
    ],
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    """`shown(function, *arguments)` -> what a terminal of 80 columns gets."""

    def call(function, *arguments, columns=80, **options):
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setenv("COLUMNS", str(columns))
        function(*arguments, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())

    return call


def test_print_table_hides_and_names_columns_that_do_not_fit(shown):
    assert len(WIDE.splitlines()[0]) > 140
    text = shown(terminal.show, WIDE + "\n\n(* chosen on validation)")
    assert max(map(len, text.splitlines())) <= 80
    assert "data: bank; seeds: 3; not shown at this width: accuracy, AUC, ECE, seconds, GiB" in " ".join(text.split())
    assert "(* chosen on validation)" in text
    assert "0.812 ± 0.034" in text


def test_print_table_shows_all_columns_in_a_wide_terminal(shown):
    text = shown(terminal.show, WIDE, columns=160)
    assert all(name in text for name in HEADER)
    assert "not shown" not in text
    [line] = [line for line in text.splitlines() if "teacher " in line]
    assert line.rstrip("│ ").endswith("0.3")


def test_print_table_aligns_numbers_right(shown):
    text = shown(terminal.show, text_table(["metric", "test"], [["n", "24"], ["average_precision", "0.8123"]]))
    lines = [line for line in text.splitlines() if line.startswith("│")]
    assert len({line.rindex(cell) + len(cell) for line, cell in zip(lines[1:], ("24", "0.8123"), strict=True)}) == 1


def test_print_rows_wraps_a_long_text(shown):
    assert len(shown(terminal.show, "word " * 2_000)) > 9_000


def test_print_rows_keeps_words_whole_in_a_terminal_that_is_too_narrow_for_a_table(shown):
    text = "I recently reported my card as missing"
    figures = {"corpus_id": 14, "similarity": 0.599, "score": 4.734, "probability": 0.894, "decision": "match"}
    rows = [figures | {"text": text, "Answer": "see page 15", "FAQ Id": f"FAQ-0{n}"} for n in (15, 2)]
    narrow = shown(terminal.show_rows, rows, as_json=False)
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.count(text) == 2
    assert [line for line in narrow.splitlines() if "FAQ Id" in line and "FAQ-02" in line]
    assert "corpus_id │ similarity" in shown(terminal.show_rows, rows, as_json=False, columns=160)


def test_show_writes_plain_markdown_to_a_pipe(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    terminal.show(WIDE)
    assert out.getvalue() == WIDE + "\n"


def test_show_rows_prints_a_table_in_a_terminal_and_json_on_request(shown, monkeypatch):
    rows = [{"text1": "a [b] \x1b[31m" + "long " * 30, "score": 1.23456, "decision": "match"}]
    text = shown(terminal.show_rows, rows, as_json=False)
    assert max(map(len, text.splitlines())) <= 80
    assert "1.235" in text
    assert "a [b] \\x1b[31m" in text
    assert shown(terminal.show_rows, rows, as_json=True).startswith('{"text1": "a [b]')
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    terminal.show_rows(rows, as_json=False)
    assert sys.stdout.getvalue().startswith('{"text1": "a [b]')


def test_check_prints_one_table_of_all_files(pair_files):
    files = [pair_files[name] for name in ("train", "validation", "test")]
    done = flipkd("check", *files)
    assert done.code == 0, done.err
    header, *_ = done.out.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["", *(Path(file).name for file in files)]
    assert next(line for line in done.out.splitlines() if line.startswith("| rows ")).count("|") == 5


def on_a_terminal(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What `flipkd check` writes to a terminal."""
    near, far = pty.openpty()
    command = [sys.executable, "-m", "flipkd", "check", *words]
    with Forked(command, cwd=folder, env=environment, stdout=far, stderr=far):
        os.close(far)
        got = b""
        while True:
            try:
                got += os.read(near, 65536)
            except OSError:  # the process has ended and all is read
                break
    os.close(near)
    return got.decode()


@pytest.mark.parametrize("no_colour", [True, False])
def test_print_table_at_80_columns_with_no_color(tmp_path, no_colour):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("text1,text2,label\na,b,1\nc,d,0\ne,f,1\ng,h,0\n")
    unset = {"NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"COLUMNS": "80", "TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_colour else {})
    text = "".join(on_a_terminal(words, tmp_path, environment) for words in (["--help"], ["train.csv", "test.csv"]))
    assert "╭" in text
    assert "train.csv" in text
    assert bool(COLOUR.search(text)) != no_colour
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(len(line) for line in bare if line[:1] in "│╭├╰") == 80
