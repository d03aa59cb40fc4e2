"""What the command line shows: progress on stderr, one result on stdout, errors without a patient's value."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etl.errors import BlinaError

Progress = Callable[[str], None]


def speak_utf8() -> None:
    """Starts this process again in Python's UTF-8 mode where the locale is of another encoding.

    FHIR, DuckDB and the messages are UTF-8: in such a locale names of files would be misread and words not be written.
    """
    shown = getattr(sys.stdout, "encoding", None) or "utf-8"  # None: there is no stdout
    of_another = {sys.getfilesystemencoding(), shown.lower()} != {"utf-8"}
    if of_another and not sys.flags.utf8_mode:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
        os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], kept)  # noqa: S606  this command


def say(text: str) -> None:
    """Writes a line for the person at the keyboard (stderr)."""
    sys.stderr.write(text + "\n")


def show(text: str) -> None:
    """Writes a line of the command's result (stdout)."""
    sys.stdout.write(text + "\n")


def show_json(content: Mapping[str, Any]) -> None:
    """Writes the one JSON object of `--json` (stdout)."""
    show(json.dumps(content, ensure_ascii=False, indent=1, default=str))


@contextmanager
def progress(title: str, steps: Sequence[str]) -> Iterator[Progress]:
    """A function that takes the name of each stage: a bar on a terminal, plain lines elsewhere; all on stderr.

    `steps` are the stages that move the bar; a message that is none of them only changes the words beside it.
    """
    if not sys.stderr.isatty():
        yield lambda message: say(f"{title}: {message}") if message in steps else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(title, total=len(steps))

        def move(message: str) -> None:
            done = steps.index(message) if message in steps else None
            bars.update(bar, description=f"{title}: {message}", completed=done)

        yield move
        bars.update(bar, completed=len(steps))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A plain table: texts to the left, columns of numbers (and of numbers with a sign) to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    columns = list(zip(*cells, strict=True)) or [()] * len(head)
    widths = [max(map(len, (title, *column))) for title, column in zip(head, columns, strict=True)]
    texts = [at == 0 or not all(map(_is_number, column)) for at, column in enumerate(columns)]
    lines = [list(head), *cells]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for text, cell, width in zip(texts, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.,-+% ")


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def explain(error: BaseException) -> tuple[str, int]:
    """The message for an error and the exit code.

    An error of blina's says what is wrong. Of any other only kind and place are told: its message may hold a value.
    """
    if isinstance(error, BlinaError):
        return f"blina: {error}", error.exit_code
    message = (
        f"blina: an error of blina's own: {type(error).__name__} at {place_of(error)}. "
        "Please report this line. `blina --debug …` shows the whole traceback, which may hold values of patients."
    )
    return message, BlinaError.exit_code


def place_of(error: BaseException) -> str:
    """Where in our own code an exception came up, as folder/file.py:line."""
    root = Path(__file__).resolve().parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        one
        for one in frames
        if Path(one.filename).is_relative_to(root)
        and "site-packages" not in one.filename
        and ".venv" not in one.filename
    ]
    if not (ours or frames):
        return "an unknown place"
    last = (ours or frames)[-1]
    path = Path(last.filename)
    return f"{path.relative_to(root) if path.is_relative_to(root) else path.name}:{last.lineno}"
