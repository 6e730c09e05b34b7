"""What a terminal shows: words that are no markup, refusals, and boards of the steps of a run or sweep."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mqg_utils.workflow.clock import Clock
from mqg_utils.workflow.cluster import News
from mqg_utils.workflow.plan import Plan, Step

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
SIGNS = {
    "start": "▸", "skip": "[green]=[/]", "taken": "[green]=[/]", "done": "[green]✓[/]", "fail": "[red]✗[/]",
}  # fmt: skip


def plain(words: object) -> str:
    """Words as they are: no markup, and no sign that would command the terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(words)).replace("[", r"\[")


def near(path: Path) -> Path:
    """A path as seen from the folder that one is in."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def refusal(*kinds: type[Exception], code: int = 1, sign: str = "[red]✗[/] ") -> Iterator[None]:
    """Ends the command with this exit code where one of these errors is raised, whose words are told; no traceback."""
    try:
        yield
    except kinds as error:
        errors.print(f"{sign}{plain(error)}")
        raise typer.Exit(code) from None


def _bars() -> Progress:
    columns = (BarColumn(20), TextColumn("{task.completed}/{task.total} {task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


class RunBoard:
    """Progress of the run, the stage and the cell, and the time left: bars on a terminal, lines elsewhere."""

    def __init__(self, plan: Plan) -> None:
        self.executed, self.stage = 0, ""
        self.progress = _bars()
        self._clock = Clock([step.title for step in plan.steps], plan.seconds)
        self._stages = self.progress.add_task("stages", total=len(plan.steps))
        self._cells = self.progress.add_task("", total=None, visible=False)

    def report(self, event: str, step: Step, detail: str) -> None:
        """Show an event of a step: a `pipeline.Report`."""
        words = plain(detail)
        if event == "lock":
            console.print(f"the run was {words}")
        elif event == "start":
            self.stage = step.title
            self._clock.start(step.title)
            console.print(f"{SIGNS['start']} {plain(step.title)}: {words}{self._clock.words()}")
            self.executed += 1
            self.progress.update(self._stages, description=plain(step.title) + self._clock.words())
            self.progress.reset(self._cells, total=None, description="", visible=True)
        elif event == "cells":
            done, _, total = detail.partition("/")
            self.progress.update(self._cells, completed=int(done), total=int(total), description="cells")
        elif event == "cell":
            self.progress.update(self._cells, description=words[:100])
            self.progress.update(self._stages, description=plain(step.title) + self._clock.words())
        else:
            skipped = "skipped, " if event == "skip" else ""
            self._clock.end(step.title, executed=event == "done")
            console.print(f"{SIGNS[event]} {plain(step.title)}: {skipped}{words}")
            self.progress.advance(self._stages)
            self.progress.update(self._cells, visible=False)


class SweepBoard:
    """A line for every step that begins or ends; on a terminal also a bar for each that runs."""

    def __init__(self, steps: int) -> None:
        self.progress = _bars()
        self._all = self.progress.add_task("steps", total=steps)
        self._running: dict[tuple[str, str], TaskID] = {}

    def tell(self, news: News) -> None:
        """Show news of a step of some run."""
        step, name = (news.run, news.step), plain(f"{news.run} {news.step}")
        if news.event in SIGNS:
            where = f" (worker {news.worker})" if news.event == "start" else ""
            console.print(f"{SIGNS[news.event]} {name}: {plain(_words(news))}{plain(where)}")
        if news.event == "start" and step not in self._running:
            self._running[step] = self.progress.add_task(name, total=None)
        elif news.event == "cells" and step in self._running:
            done, _, total = news.detail.partition("/")
            self.progress.update(self._running[step], completed=int(done), total=int(total))
        elif news.event in ("skip", "taken", "done", "fail"):
            if step in self._running:
                self.progress.remove_task(self._running.pop(step))
            self.progress.advance(self._all)


def _words(news: News) -> str:
    return {"skip": f"skipped, {news.detail}", "taken": f"made already, taken {news.detail}"}.get(
        news.event, news.detail
    )
