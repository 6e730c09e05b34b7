"""The bar that shows which book is being read."""

import pytest

from mqg_utils.widgets.progress import reading_bar


def test_a_notebook_s_bar_names_the_book_and_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    shown: list[str] = []

    class Handle:
        def update(self, page: IPython.display.HTML) -> None:
            shown.append(page.data)

    def display(page: IPython.display.HTML, display_id: bool) -> Handle:
        shown.append(page.data)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    tell = reading_bar()
    for state in ((0, 2, "a <b>: x.md"), (1, 2, "c: y.pdf"), (2, 2, "")):
        tell(*state)
    assert [("a &lt;b&gt;" in shown[0]), ("1 of 2 files, c: y.pdf" in shown[1]), shown[2]] == [
        True,
        True,
        "2 files looked at",
    ]
