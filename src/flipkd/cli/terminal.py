"""What a user's terminal sees: results on stdout, one sentence and an exit code for an error, libraries kept quiet."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import time
import traceback
import warnings
from typing import Any

import typer
from typer.completion import shell_complete

from flipkd import progress, ranks
from flipkd.cli import tables
from flipkd.cores import busy_warning
from flipkd.errors import DataError, FlipkdError, PeerError, shorten

logger = logging.getLogger(__name__)
MEMORY = "flipkd: memory ran out; use a smaller batch size or model"
MOST = 4000  # characters of a message that are shown
RESUMABLE = ("teach", "train", "compare", "demo")
ANYWHERE = ("--debug", "--verbose")  # options of flipkd itself, which may also stand behind the verb


def run(app: typer.Typer) -> None:
    """Run a command line on sys.argv; an error is one sentence and its exit code, a bug of ours is exit code 1."""
    words = sorted(sys.argv[1:], key=lambda word: word not in ANYWHERE) or ["--help"]
    debug = "--debug" in words
    _write_any_text()
    try:
        _require_utf8(words)
        # Typer's own way of running would turn Ctrl-C and a closed pipe into exit codes of its own.
        command = typer.main.get_command(app)
        if asked := os.environ.get("_FLIPKD_COMPLETE"):  # by the shell, for completion
            raise typer.Exit(shell_complete(command, {}, "flipkd", "_FLIPKD_COMPLETE", asked))
        with command.make_context("flipkd", words) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        raise SystemExit(done.exit_code) from None
    except typer.TyperException as error:
        _stop(_explained(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        _stop(f"flipkd: stopped{_what_stays(words)}", 75)
    except PeerError as error:
        if not ranks.rank():
            time.sleep(ranks.GRACE)  # the one that failed says why, and the launcher ends this process
        _fail(error, f"flipkd: {error}", error.exit_code, debug=debug)
    except FlipkdError as error:
        _fail(error, f"flipkd: {error}", error.exit_code, debug=debug)
    except MemoryError as error:
        _fail(error, MEMORY, 5, debug=debug)
    except BrokenPipeError:
        _drop_output()  # the reader left, for example `head`
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            _drop_output()
            _fail(error, "flipkd: the disk that the output goes to is full; free some space", 5, debug=debug)
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which a verb may not have imported
            _fail(error, MEMORY, 5, debug=debug)
        text = (
            f"flipkd: this is a bug in flipkd: {type(error).__name__}: {error} (run again with --debug and report it)"
        )
        _fail(error, text, 1, debug=debug)


def _require_utf8(words: list[str]) -> None:
    """Raise DataError for a word that could be neither scored nor written: other bytes reach Python as half surrogates."""
    for word in words:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"the command line holds bytes that are not UTF-8 (a Latin-1 terminal?): {shorten(word)} at character "
                f"{error.start}; set the terminal to UTF-8, or rename the file"
            ) from None


def _what_stays(words: list[str]) -> str:
    """What a command that was interrupted leaves behind."""
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb == "match":
        writes = any(word == "--output" or word.startswith("--output=") for word in words)
        return "; run the same command to go on" if writes else ""
    return "; run the same command to go on" if verb in RESUMABLE else "; nothing was written"


def _drop_output() -> None:
    """What is still buffered for stdout would make Python complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_any_text() -> None:
    """Files and pipes get UTF-8 whatever the locale; a terminal that lacks a character shows it escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _explained(error: Any) -> str:
    """What is wrong with the words of the command line, what may have been meant, and where to read on."""
    context, name = getattr(error, "ctx", None), getattr(error, "option_name", "")
    message = error.message if name else error.format_message()
    if context is None:
        return f"flipkd: {message}"
    hint = context.command.hint(name) if name and hasattr(context.command, "hint") else ""
    if "unexpected extra argument" in message:
        hint = "a list is written as A,B; a switch has no value"
    return f"flipkd: {message} ({hint}{' ' if hint.endswith('?') else '; ' if hint else ''}see: {context.command_path} --help)"


def _fail(error: BaseException, text: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    _stop(text, code)


def _stop(text: str, code: int) -> None:
    if ranks.rank():
        time.sleep(ranks.GRACE)  # where all ranks fail alike, the first one says it and the launcher ends the others
        text = f"rank {ranks.rank()}: {text}"
    sys.stderr.write(plain(text.rstrip()) + "\n")
    raise SystemExit(code)


def plain(text: str) -> str:
    """A message that cannot steer a terminal, cut at MOST."""
    return escaped(text if len(text) <= MOST else text[:MOST] + f"... ({len(text):,} characters)")


def escaped(text: str) -> str:
    """A text whose control characters and marks of direction are escaped."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class PlainFormatter(logging.Formatter):
    """Messages of the log as `plain` has them: names of files, columns and settings in them come from outside."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        return plain(super().format(record))


def log_plainly(level: int) -> None:
    """Log to stderr from this level on, through PlainFormatter; Python's warnings too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)


def silence_other_ranks() -> None:
    """Let the first of several processes tell what goes on; of the others only errors are shown."""
    if ranks.rank():
        logging.getLogger().setLevel(logging.ERROR)
        progress.logger.setLevel(logging.ERROR)
        os.environ["TQDM_DISABLE"] = "1"
    else:
        progress.logger.setLevel(logging.INFO)


def quiet_libraries() -> None:
    """Leave stderr to flipkd's own words and to progress bars of steps that last; called before any library is there.

    The variables are those that tqdm and transformers read when they are imported; what the user has set stays.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DELAY", "2")  # seconds before a bar shows: loading 23 small tensors needs none
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars make a log file unreadable
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").propagate = False  # it prints by itself; here all would stand twice
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def stdout_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """What libraries print while a stage computes is no result: stdout stays fit for a pipe. Warns of a busy machine."""
    if warning := busy_warning():
        logger.warning(warning)
    return contextlib.redirect_stdout(sys.stderr)


def show(text: str) -> None:
    """A result, on stdout, with tables as wide as the terminal; of several processes the first shows it."""
    if ranks.rank():
        return
    if tables.in_terminal():
        tables.print_text(escaped(text))
    else:
        sys.stdout.write(text + "\n")


def show_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Rows of data, on stdout: a table in a terminal, else one JSON object per line."""
    if tables.in_terminal() and not as_json:
        tables.print_rows(rows, escaped)
    else:
        from flipkd.commands.match_rows import to_jsonl

        sys.stdout.write(to_jsonl(rows))


def tell(text: str) -> None:
    """What goes on while a verb runs, on stderr."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()
