"""What a terminal shows: words that are no markup, and a board of a sweep's steps as they run."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mqg_utils.cluster import News

console = Console(highlight=False, soft_wrap=True)
SIGNS = {
    "start": "▸", "skip": "[green]=[/]", "taken": "[green]=[/]", "done": "[green]✓[/]", "fail": "[red]✗[/]",
}  # fmt: skip


def plain(words: object) -> str:
    return str(words).replace("[", r"\[")


class Board:
    """A line for every step that begins or ends; on a terminal also a bar for each that runs."""

    def __init__(self, steps: int) -> None:
        columns = (BarColumn(20), TextColumn("{task.completed}/{task.total} {task.description}"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._all = self.progress.add_task("steps", total=steps)
        self._running: dict[tuple[str, str], TaskID] = {}

    def tell(self, news: News) -> None:
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
