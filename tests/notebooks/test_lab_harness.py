"""The harness of the browser tests itself: a trivial notebook with a widget, in a real JupyterLab."""

import nbformat
import psutil
import pytest
from lab import start_lab
from nbformat.v4 import new_code_cell, new_notebook

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


def test_run_all_shows_a_widget_that_answers(jupyterlab, chromium):
    file = write(jupyterlab.root / "counter", COUNTER, "import os; os.getpid()")
    with jupyterlab.open(chromium, file) as notebook:
        notebook.run_all()
        page = notebook.page
        pid = notebook.kernel().pid
        assert page.locator(".jp-OutputArea-output", has_text=str(pid)).count() == 1
        page.get_by_role("button", name="Add one").click()
        page.locator(".widget-html b", has_text="1").wait_for(timeout=10_000)
        notebook.set_dark()
        notebook.set_zoom(150)
        assert page.evaluate("[innerWidth, devicePixelRatio]") == [960, 1.5]
        assert notebook.kernel().memory_info().rss > 10_000_000
        notebook.restart_kernel()
        assert notebook.kernel().pid != pid
        assert notebook.problems() == []
    assert jupyterlab.ask("GET", "kernels") == []


def test_what_goes_wrong_is_seen(jupyterlab, chromium):
    broken = COUNTER.replace("int(", "1 / 0 * int(")
    file = write(jupyterlab.root / "wrong", broken, "open('missing')", "print('not run')")
    with jupyterlab.open(chromium, file) as notebook:
        with pytest.raises(AssertionError, match="FileNotFoundError"):
            notebook.run_all()
        notebook.page.get_by_role("button", name="Add one").click()
        notebook.page.wait_for_function("window.kernelErrors.some(error => error.startsWith('ZeroDivisionError'))")
        notebook.page.evaluate("console.error('seen')")
        notebook.page.evaluate("fetch('http://127.0.0.1:1/away').catch(() => 0)")
        said = "\n".join(notebook.problems())
        assert "kernel: ZeroDivisionError" in said and "kernel: FileNotFoundError" in said
        assert "seen" in said and "asked for http://127.0.0.1:1/away" in said


def test_nothing_outlives_the_server(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with start_lab(root) as lab:
        request = lab.ask("POST", "kernels")
        started = psutil.Process(lab.pid).children(recursive=True)
        assert request["id"] and started
    assert not psutil.pid_exists(lab.pid) and not any(process.is_running() for process in started)
