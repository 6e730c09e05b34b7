"""A bar in a notebook that says which book is being read."""

from collections.abc import Callable
from html import escape
from typing import Any


def reading_bar(unit: str = "files") -> Callable[[int, int, str], None]:
    """A function to be told (done, in all, what is being read); it shows one bar, and at the end one line."""
    from IPython.display import HTML, display

    shown: Any = None
    last = (-1, "")

    def tell(done: int, total: int, what: str) -> None:
        nonlocal shown, last
        if done < total and (done * 100 // max(total, 1), what.split(":")[0]) == last:
            return  # a hundred steps are enough, and every book
        last = (done * 100 // max(total, 1), what.split(":")[0])
        bar = f'<progress value="{done}" max="{total}"></progress> {done} of {total} {unit}, {escape(what)}'
        page = HTML(bar if done < total else f"{total} {unit} looked at")
        if shown is None:
            shown = display(page, display_id=True)
        else:
            shown.update(page)

    return tell
