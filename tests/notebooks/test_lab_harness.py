"""The harness of the browser tests: a notebook with a widget, in a real JupyterLab."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = [pytest.mark.slow, pytest.mark.browser]
COUNTER = """import ipywidgets
from IPython.display import display
button, shown = ipywidgets.Button(description="Add one"), ipywidgets.HTML("<b>0</b>")
button.on_click(lambda _: setattr(shown, "value", f"<b>{int(shown.value[3:-4]) + 1}</b>"))
display(ipywidgets.VBox([button, shown]))"""


def write(folder, *sources):
    folder.mkdir()
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = new_notebook(metadata={"kernelspec": kernel}, cells=[new_code_cell(source) for source in sources])
    nbformat.write(notebook, folder / "n.ipynb")
    return folder / "n.ipynb"


def test_a_widget_answers_and_its_faults_are_seen(jupyterlab, chromium):
    file = write(jupyterlab.root / "counter", COUNTER, "open('missing')")
    with jupyterlab.open(chromium, file) as notebook:
        with pytest.raises(AssertionError, match="FileNotFoundError"):
            notebook.run_all()
        page = notebook.page
        page.get_by_role("button", name="Add one").click()
        page.locator(".widget-html b", has_text="1").wait_for()
        assert notebook.problems() == [next(p for p in notebook.problems() if "FileNotFoundError" in p)]
        page.evaluate("console.error('seen')")
        page.evaluate("fetch('http://127.0.0.1:1/away').catch(() => 0)")
        problems = "\n".join(notebook.problems())
        assert "seen" in problems and "asked for http://127.0.0.1:1/away" in problems
    assert jupyterlab.ask("GET", "kernels") == []
