"""What the command prints: lines for steps, bars on a terminal, and refusals without a traceback."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from mqg_utils.workflow.errors import RESUMES

if TYPE_CHECKING:
    from mqg_utils.workflow.plan import Step

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
OK, SAME, BAD = "[green]✓[/]", "[green]=[/]", "[red]✗[/]"
SIGNS = {"start": "▸", "skip": SAME, "done": OK, "unchanged": SAME, "taken": SAME, "executed": OK, "failed": BAD}


def plain(text: object) -> str:
    """Text without markup or control characters that the terminal would obey."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(text)).replace("[", r"\[")


def near(path: Path) -> Path:
    """A path relative to the working folder, if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def refusal(*kinds: type[Exception], code: int = 1) -> Iterator[None]:
    """End the command with this exit code and the error's message, without a traceback, if one of these is raised."""
    try:
        yield
    except kinds as error:
        errors.print(f"{BAD} {plain(error)}")
        raise typer.Exit(code) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Say how to resume after Ctrl-C, or after SIGTERM, which a scheduler sends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        errors.print(f"Stopped. {RESUMES}")
        raise typer.Exit(130) from None


class RunProgress:
    """A line when a stage starts and ends, and on a terminal the last line it printed."""

    def __init__(self) -> None:
        self.executed, self.status = 0, console.status("")

    def report(self, event: str, step: "Step", detail: str) -> None:
        """Show an event of a step: a `runner.Report`."""
        if event == "output":
            return self.status.update(plain(detail)[:100])
        self.executed += event == "start"
        self.status.update(plain(step.title))
        console.print(f"{SIGNS[event]} {plain(step.title)}: {'skipped, ' * (event == 'skip')}{plain(detail)}")
