"""A table of passages to search, filter and sort beside the chosen passage."""

import ipywidgets as ipw
import pandas as pd
from IPython.display import HTML, display

from mqg_utils.widgets.keys import data_table, message_html, show, style
from mqg_utils.widgets.passage_index import PassageIndex

COLUMN_CONTROL = [{"target": 0, "content": ["order"]}, {"target": 1, "content": ["search"]}]


class PassageBrowser:
    """Choose a passage by click, or with the arrow keys and the space bar. The search covers the text as well."""

    def __init__(self, index: PassageIndex) -> None:
        self.index = index
        frame = pd.DataFrame(index.rows()).assign(text=[entry.passage.text for entry in index.entries])
        self.open = ipw.HTML(index.page(0) if index.entries else "")
        hidden = [{"targets": [frame.columns.get_loc("text")], "visible": False}]
        chosen = [0] if index.entries else []
        self.table = data_table(
            frame, select="single", selected_rows=chosen, keys=True, columnControl=COLUMN_CONTROL, columnDefs=hidden
        )
        self.table.observe(lambda _: self._open(), "selected_rows")
        page = ipw.Box([self.open], layout={"max_height": "36em", "overflow": "auto"})
        self.widget = ipw.VBox([ipw.HTML(style()), self.table, page])

    def _open(self) -> None:
        if self.table.selected_rows:
            self.open.value = self.index.page(self.table.selected_rows[0])

    def show(self) -> None:
        """Display the browser; without a kernel, the first passage."""
        if not self.index.entries:
            display(HTML(message_html("There are no passages to browse.")))
            return
        text = message_html("Open this notebook in JupyterLab to choose a passage. The first one:")
        show(self.widget, style() + text + self.open.value)
