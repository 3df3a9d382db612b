"""Terminal output: results on stdout, one sentence and an exit code per error, quiet libraries."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.completion import shell_complete

from flipkd import progress, ranks
from flipkd.cli import tables
from flipkd.cores import busy_warning
from flipkd.errors import DataError, FlipkdError, PeerError, is_disk_full, is_failure, is_out_of_memory, shorten

logger = logging.getLogger(__name__)
Config = TypeVar("Config")
Result = TypeVar("Result")
MEMORY = "flipkd: out of memory; use a smaller batch size or model"
MAX_MESSAGE = 4000  # characters of a message that are shown
RESUMABLE = ("teach", "train", "dedupe", "compare", "demo")
GLOBAL_OPTIONS = ("--debug", "--verbose")  # options of flipkd itself that may also follow the subcommand


def run(app: typer.Typer) -> None:
    """Run the command line in sys.argv; an error prints one sentence and sets its exit code, a bug of flipkd sets 1."""
    arguments = sorted(sys.argv[1:], key=lambda argument: argument not in GLOBAL_OPTIONS) or ["--help"]
    debug = "--debug" in arguments
    _use_utf8_output()
    try:
        _require_utf8(arguments)
        # Typer's own runner would map Ctrl-C and a closed pipe to other exit codes.
        command = typer.main.get_command(app)
        if requested := os.environ.get("_FLIPKD_COMPLETE"):  # set by the shell for completion
            raise typer.Exit(shell_complete(command, {}, "flipkd", "_FLIPKD_COMPLETE", requested))
        with command.make_context("flipkd", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        raise SystemExit(done.exit_code) from None
    except typer.TyperException as error:
        _stop(_usage_message(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        _stop(f"flipkd: stopped{_resume_hint(arguments)}", 75)
    except PeerError as error:
        if not ranks.rank():
            time.sleep(ranks.GRACE)  # the failed process reports its error, and the launcher ends this one
        _fail(error, f"flipkd: {error}", error.exit_code, debug=debug)
    except FlipkdError as error:
        _fail(error, f"flipkd: {error}", error.exit_code, debug=debug)
    except BrokenPipeError:
        _discard_output()  # the reader closed the pipe, for example `head`
    except BaseException as error:
        if not is_failure(error):
            raise
        if is_disk_full(error):
            _discard_output()
            _fail(error, "flipkd: the disk of the output is full; free some space and run again", 5, debug=debug)
        if is_out_of_memory(error):
            _fail(error, MEMORY, 5, debug=debug)
        _fail(error, *_unexpected(error), debug=debug)


def _unexpected(error: BaseException) -> tuple[str, int]:
    """Return message and exit code for an exception that flipkd did not raise itself."""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("flipkd"):
        text = f"flipkd: the Python module {error.name.partition('.')[0]} is not installed; pip install flipkd installs it"
        return text, 4
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):  # of tempfile
        return "flipkd: no folder for temporary files can be written; set TMPDIR to one that can", 5
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return (
            f"flipkd: {shorten(str(error.filename))}: no file or folder can have such a long name; correct the path",
            5,
        )
    text = f"flipkd: this is a bug in flipkd: {type(error).__name__}: {error} (run again with --debug and report it)"
    return text, 1


def _require_utf8(arguments: list[str]) -> None:
    """Raise DataError for an argument that is not UTF-8: Python holds its bytes as lone surrogates."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"the command line holds bytes that are not UTF-8 (a Latin-1 terminal?): {shorten(argument)} at character "
                f"{error.start}; set the terminal to UTF-8, or rename the file"
            ) from None


def _resume_hint(arguments: list[str]) -> str:
    """Return how to resume an interrupted command."""
    subcommand = next((argument for argument in arguments if not argument.startswith("-")), "")
    if subcommand == "match":
        writes = any(argument == "--output" or argument.startswith("--output=") for argument in arguments)
        return "; run the same command to resume" if writes else ""
    return "; run the same command to resume" if subcommand in RESUMABLE else "; nothing was written"


def _discard_output() -> None:
    """Discard the buffer of stdout, which Python would fail to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _use_utf8_output() -> None:
    """Write UTF-8 to files and pipes in every locale; escape characters that the terminal's encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _usage_message(error: Any) -> str:
    """Return the message of a usage error, with a suggestion and the help command."""
    context, name = getattr(error, "ctx", None), getattr(error, "option_name", "")
    message = (error.message if name else error.format_message()).replace("Value error, ", "")
    if context is None:
        return f"flipkd: {message}"
    hint = context.command.hint(name) if name and hasattr(context.command, "hint") else ""
    if "unexpected extra argument" in message:
        hint = (
            "put a text with spaces in quotes, and the name of an option before its value; write a list as A,B; "
            "a flag takes no value"
        )
    return f"flipkd: {message} ({hint}{' ' if hint.endswith('?') else '; ' if hint else ''}see: {context.command_path} --help)"


def _fail(error: BaseException, text: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    _stop(text, code)


def _stop(text: str, code: int) -> None:
    if ranks.rank():
        time.sleep(ranks.GRACE)  # when all ranks fail alike, rank 0 reports it and the launcher ends the others
        text = f"rank {ranks.rank()}: {text}"
    sys.stderr.write(printable(text.rstrip()) + "\n")
    raise SystemExit(code)


def printable(text: str) -> str:
    """Return a message with control characters escaped, cut at MAX_MESSAGE characters."""
    return escape_control(text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + f"... ({len(text):,} characters)")


def escape_control(text: str) -> str:
    """Escape control characters and bidirectional marks."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class PrintableFormatter(logging.Formatter):
    """Log formatter that escapes control characters: names of files, columns and settings are untrusted."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one printable line."""
        return printable(super().format(record))


def set_up_logging(level: int) -> None:
    """Log records of this level and above, and Python's warnings, to stderr through PrintableFormatter."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)


def silence_other_ranks() -> None:
    """Show progress of rank 0 only; the other ranks log only errors."""
    if ranks.rank():
        logging.getLogger().setLevel(logging.ERROR)
        progress.logger.setLevel(logging.ERROR)
        os.environ["TQDM_DISABLE"] = "1"
    else:
        progress.logger.setLevel(logging.INFO)


def quiet_libraries() -> None:
    """Silence libraries on stderr, and show progress bars of long steps only; call this before they are imported.

    tqdm and transformers read these environment variables at import; a value that the user has set is kept.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DELAY", "2")  # seconds before a bar appears: short loads need none
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars make a log file unreadable
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").propagate = False  # it has its own handler; messages would appear twice
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def stdout_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Redirect prints of libraries to stderr while a command computes, so that stdout holds results only.

    Warns when the machine is busy.
    """
    if warning := busy_warning():
        logger.warning(warning)
    return contextlib.redirect_stdout(sys.stderr)


def compute(run: Callable[[Config], Result], config: Config) -> Result:
    """Return the result of a command, which runs under `stdout_to_stderr`."""
    with stdout_to_stderr():
        return run(config)


def show(text: str) -> None:
    """Print a result on stdout, with tables fitted to the terminal; only rank 0 prints."""
    if ranks.rank():
        return
    if tables.in_terminal():
        tables.print_text(escape_control(text))
    else:
        sys.stdout.write(text + "\n")


def show_result(result: Any, text: str, *, as_json: bool) -> None:
    """Print a result on stdout, as JSON or as this text."""
    show(json.dumps(result, indent=2) if as_json else text)


def show_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows on stdout: a table in a terminal, else one JSON object per line."""
    if tables.in_terminal() and not as_json:
        tables.print_rows(rows, escape_control)
    else:
        from flipkd.commands.match_rows import to_jsonl

        sys.stdout.write(to_jsonl(rows))


def print_status(text: str) -> None:
    """Print a status line on stderr."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()
