"""How long the explorer takes to answer a click, and whether its kernel's memory grows: a real JupyterLab in Chromium.

    python tests/support/clicks.py --chains 1000 --clicks 200

No part of the test suite: what it measures hangs on the machine.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import simulated
from browser import launch
from conftest import make_project
from lab import start_lab
from playwright.sync_api import sync_playwright

from mqg_utils.records import write_jsonl

OPTION = ".mqg-map [role=option]"
CLICK = """number => new Promise(done => {
  const option = document.querySelectorAll(".mqg-map [role=option]")[number];
  const name = option.title.split(":")[0], start = performance.now();
  const look = () => document.querySelector(".mqg-case h3")?.textContent.startsWith(name + " ")
    ? done(performance.now() - start) : requestAnimationFrame(look);
  option.click(); look();
})"""


def make_run(folder: Path, chains: int) -> None:
    """A simulated run of two conditions in three histories, with two passages and generated questions a chain."""
    run = simulated.run(simulated.exam(chains), ("base", "books+questions"), passages=2 * chains)
    simulated.write_run(folder, run)
    write_jsonl(folder / "01_corpus" / "passages.jsonl", run.passages)
    write_jsonl(folder / "03_generate" / "questions.jsonl", run.training_questions)
    simulated.seal(folder, "01_corpus")
    simulated.seal(folder, "03_generate")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--chains", type=int, default=1000)
    asked.add_argument("--clicks", type=int, default=200)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        project = make_project(Path(folder) / "root" / "project")
        make_run(project / "outputs" / "quick", given.chains)
        browser = launch(player)
        with (
            start_lab(Path(folder) / "root") as lab,
            lab.open(browser, project / "notebooks" / "explore_chains.ipynb") as notebook,
        ):
            notebook.run_all(600)
            page, kernel = notebook.page, notebook.kernel()
            page.locator(OPTION).first.wait_for()
            page.locator(OPTION).first.scroll_into_view_if_needed()
            taken, memory = [], []
            for n in range(given.clicks + 20):  # the first ones warm up
                taken.append(page.evaluate(CLICK, n * 37 % given.chains))
                if n % 20 == 19:
                    memory.append(round(kernel.memory_info().rss / 2**20, 1))
            counted = sorted(taken[20:])
            print(f"{len(counted)} clicks over {given.chains} chains; load of the machine {os.getloadavg()[0]:.1f}")
            print(f"ms to the screen: median {statistics.median(counted):.0f}, ", end="")
            print(f"95 % below {counted[int(0.95 * len(counted))]:.0f}, longest {counted[-1]:.0f}")
            print(f"MiB of the kernel, every 20 clicks: {memory}")
            print("problems:", notebook.problems())
        browser.close()


if __name__ == "__main__":
    main()
