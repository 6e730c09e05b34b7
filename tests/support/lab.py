"""A real JupyterLab on loopback, and a notebook opened in it in headless Chromium, as a person would use it.

`conftest.py` says `pytest_plugins = ["lab"]`, and a test takes the fixtures `jupyterlab` (one server a session) and
`chromium` (one browser a module); without Chromium they skip, or fail, as `browser.require_chromium` does:

    def test_it(jupyterlab, chromium):
        project = make_project(jupyterlab.root / "it")
        with jupyterlab.open(chromium, project / "notebooks" / "explore" / "corpus.ipynb") as notebook:
            notebook.run_all()
            assert notebook.problems() == []
"""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import INSIDE, launch, require_chromium
from playwright.sync_api import Browser, Page, sync_playwright

START_S = 90  # of the server, and of a notebook until its kernel is idle
STOP_S = 20
QUIET = [  # no question, no look for news or updates, no guess at where the user is
    "--no-browser",
    "--allow-root",
    "--expose-app-in-browser",
    "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    "--LabApp.news_url=",
]
WRONG = re.compile(r"Traceback \(most recent call last\)|^\[[EC] |\b(ERROR|CRITICAL)\b|^\w*(Error|Exception): ", re.M)
IDLE = """() => {
  const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
  return Boolean(context?.isReady && context.session?.kernel?.status === 'idle');
}"""
COMMAND = """([command, args, wait_ms]) => Promise.race([
  window.jupyterapp.commands.execute(command, args),
  new Promise((_, refuse) => setTimeout(() => refuse(new Error(`${command} took more than ${wait_ms} ms`)), wait_ms)),
]).then(() => null)"""
ERRORS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.type === 'code');
  return cells.flatMap(cell => cell.model.outputs.toJSON().filter(output => output.output_type === 'error'))
    .map(output => `${output.ename}: ${output.evalue}`);
}"""


LISTEN = """() => {
  window.kernelErrors = [];  // of widgets' callbacks too, which no cell shows
  const errorOf = message => message.header.msg_type === 'error' ? `${message.content.ename}: ${message.content.evalue}`
    : message.header.msg_type === 'stream' && message.content.text.includes('Traceback (') ? message.content.text : '';
  window.jupyterapp.shell.currentWidget.sessionContext.iopubMessage.connect((_, message) => {
    if (errorOf(message)) window.kernelErrors.push(errorOf(message));
  });
}"""


class Notebook:
    """A notebook open in JupyterLab. `page` is Playwright's; what a person cannot do goes through JupyterLab's app."""

    def __init__(self, lab: "Lab", page: Page, path: str) -> None:
        self.lab, self.page, self.path = lab, page, path
        self.console_errors: list[str] = []  # uncaught exceptions too
        self.requests: list[str] = []  # addresses outside the server
        self._log_start = lab.log.stat().st_size
        page.on("console", lambda m: self._log_error(m.text, m.location) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", self._requested)

    def _log_error(self, text: str, location: Any) -> None:
        self.console_errors.append(f"{text} ({location.get('url', '')})")

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.lab.address, self.lab.address.replace("http", "ws"), *INSIDE)):
            self.requests.append(request.url)

    def command(self, name: str, timeout_s: float = 30, **args: Any) -> None:
        """Do one of JupyterLab's commands and wait for its end."""
        self.page.evaluate(COMMAND, [name, args, timeout_s * 1000])

    def run_all(self, timeout_s: float = 120, may_fail: bool = False) -> None:
        """Run All, and wait until every cell is done. A cell that fails is an AssertionError unless it may."""
        self.command("notebook:run-all-cells", timeout_s)
        self.wait_idle(timeout_s)
        failed = self.cell_errors()
        assert may_fail or not failed, failed

    def wait_idle(self, timeout_s: float = START_S) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(IDLE, timeout=timeout_s * 1000)

    def cell_errors(self) -> list[str]:
        """The errors that cells show, as `name: message`."""
        errors: list[str] = self.page.evaluate(ERRORS)
        return errors

    def restart_kernel(self) -> None:
        """Restart the kernel, as the menu does after its question; widgets on screen lose their kernel."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
        self.wait_idle()

    def set_dark(self, dark: bool = True) -> None:
        """JupyterLab's dark theme, or its light one."""
        self.command("apputils:change-theme", theme=f"JupyterLab {'Dark' if dark else 'Light'}")
        self.page.locator(f"body[data-jp-theme-light='{str(not dark).lower()}']").wait_for(state="attached")

    def set_zoom(self, percent: int) -> None:
        """The browser's zoom: the same window holds fewer, larger CSS pixels."""
        width, height = self.lab.window
        size = {"width": width * 100 // percent, "height": height * 100 // percent}
        self.page.set_viewport_size(size)  # type: ignore[arg-type]
        metrics = {**size, "deviceScaleFactor": percent / 100, "mobile": False}
        self.page.context.new_cdp_session(self.page).send("Emulation.setDeviceMetricsOverride", metrics)

    def screenshot(self, file: Path, selector: str = "") -> Path:
        """A picture of the window, or of one element in full."""
        target = self.page.locator(selector).first if selector else self.page
        target.screenshot(path=file)
        return file

    def log(self) -> str:
        """What the server and its kernels wrote since the notebook was opened."""
        with self.lab.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def problems(self) -> list[str]:
        """Errors of the console, the kernel and the log, and requests that left the machine; none when all is well.

        A widget's callback that fails shows in no cell; it is here.
        """
        lines = self.log().splitlines()
        logged = ["\n".join(lines[i : i + 8]) for i, line in enumerate(lines) if WRONG.search(line)]
        kernel = [f"kernel: {error}" for error in self.page.evaluate("() => window.kernelErrors")]
        return [*self.console_errors, *kernel, *logged, *(f"asked for {url}" for url in self.requests)]


class Lab:
    """A JupyterLab that serves `root`; made by `start_lab`."""

    def __init__(self, root: Path, address: str, token: str, log: Path, pid: int) -> None:
        self.root, self.address, self.token, self.log, self.pid = root, address, token, log, pid
        self.window = (1440, 1000)  # CSS pixels at 100 %

    @contextmanager
    def open(self, browser: Browser, file: Path) -> Iterator[Notebook]:
        """Open a notebook below `root` in a new browser context, and wait until its kernel is idle."""
        path = file.relative_to(self.root).as_posix()
        width, height = self.window
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(START_S * 1000)  # a busy machine is no failure
        notebook = Notebook(self, context.new_page(), path)
        try:
            notebook.page.goto(f"{self.address}/lab/tree/{path}?token={self.token}&reset")
            notebook.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=START_S * 1000)
            notebook.wait_idle()
            notebook.page.evaluate(LISTEN)
            yield notebook
        finally:
            context.close()
            for kernel in self.ask("GET", "kernels"):
                with suppress(urllib.error.HTTPError):  # it ended by itself
                    self.ask("DELETE", f"kernels/{kernel['id']}")

    def ask(self, method: str, what: str) -> Any:
        """The server's REST interface."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.address}/api/{what}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=STOP_S) as answer:
            return json.loads(answer.read() or b"null")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start_lab(root: Path) -> Iterator[Lab]:
    """JupyterLab on `root`, with settings of its own; neither it nor a kernel of it outlives the block."""
    own = root.parent / f"{root.name}.jupyter"
    folders = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    folders += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    environment = {**os.environ, **{name: str(own / name.lower()) for name in folders}, "HF_HUB_OFFLINE": "1"}
    for name in folders:
        Path(environment[name]).mkdir(parents=True, exist_ok=True)
    silent = (
        Path(environment["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    )
    silent.parent.mkdir(parents=True)
    silent.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    port, token, log = free_port(), secrets.token_hex(16), own / "lab.log"
    address = f"http://127.0.0.1:{port}"
    settings = [f"--ServerApp.root_dir={root}", f"--port={port}", "--ServerApp.port_retries=0", "--ip=127.0.0.1"]
    asked = [sys.executable, "-m", "jupyterlab", *settings, f"--IdentityProvider.token={token}", *QUIET]
    with log.open("w") as out:
        server = subprocess.Popen(asked, cwd=root, stdout=out, stderr=out, env=environment)
    try:
        lab = Lab(root, address, token, log, server.pid)
        _wait_for(lab, server)
        yield lab
    finally:
        _stop(server)


def _wait_for(lab: Lab, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError):
            lab.ask("GET", "status")
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{lab.log.read_text()[-3000:]}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Ask the server to end, then end it; and whatever it started, kernels have sessions of their own."""
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(server.pid).children(recursive=True)
    server.terminate()
    try:
        server.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _, left = psutil.wait_procs(started, timeout=3)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for the session, on an empty folder: make a project below `.root`."""
    require_chromium()
    with start_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the module: Playwright's loop must end before another module starts its own."""
    require_chromium()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
