"""What the command prints: lines for steps, bars on a terminal, and refusals without a traceback."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from mqg_utils.workflow.plan import Plan, Step

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
SIGNS = {
    "start": "▸", "skip": "[green]=[/]", "done": "[green]✓[/]", "fail": "[red]✗[/]",
    "unchanged": "[green]=[/]", "taken": "[green]=[/]", "executed": "[green]✓[/]", "failed": "[red]✗[/]",
}  # fmt: skip


def plain(text: object) -> str:
    """Text without markup or control characters that the terminal would obey."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(text)).replace("[", r"\[")


def near(path: Path) -> Path:
    """A path relative to the working folder, if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def refusal(*kinds: type[Exception], code: int = 1, sign: str = "[red]✗[/] ") -> Iterator[None]:
    """End the command with this exit code and the error's message, without a traceback, if one of these is raised."""
    try:
        yield
    except kinds as error:
        errors.print(f"{sign}{plain(error)}")
        raise typer.Exit(code) from None


def bars() -> Progress:
    """A progress display on a terminal; nothing elsewhere."""
    columns = (BarColumn(20), TextColumn("{task.completed}/{task.total} {task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


class RunProgress:
    """Progress of a run and the last line its stage printed: bars on a terminal, lines elsewhere."""

    def __init__(self, plan: "Plan") -> None:
        self.executed, self.stage = 0, ""
        self.progress = bars()
        self._stages = self.progress.add_task("stages", total=len(plan.steps))
        self._output = self.progress.add_task("", total=None, visible=False)

    def report(self, event: str, step: "Step", detail: str) -> None:
        """Show an event of a step: a `runner.Report`."""
        text = plain(detail)
        if event == "output":
            self.progress.update(self._output, description=text[:100], visible=True)
        elif event == "start":
            self.stage = step.title
            self.executed += 1
            console.print(f"{SIGNS['start']} {plain(step.title)}: {text}")
            self.progress.update(self._stages, description=plain(step.title))
        else:
            console.print(f"{SIGNS[event]} {plain(step.title)}: {'skipped, ' * (event == 'skip')}{text}")
            self.progress.advance(self._stages)
            self.progress.update(self._output, visible=False)
