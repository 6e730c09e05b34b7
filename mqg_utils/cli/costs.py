"""What a run will pay for requests, before the first of them."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mqg_utils.cli.progress import console, plain
from mqg_utils.records import Chain, Passage, by_split, read_jsonl
from mqg_utils.teacher.base import expected_cost, from_settings
from mqg_utils.teacher.cache import ReplyCache
from mqg_utils.teacher.prompts import measure_style, requests_for
from mqg_utils.workflow.parameters import notebook_parameters
from mqg_utils.workflow.plan import Step

REPLY_S = 20  # a server takes for a usual reply: a guess


def is_paid(step: Step) -> bool:
    """Whether a step sends requests to a server that is not on this machine."""
    given = step.parameters
    asks = given.get("source") in ("server", "batch") or given.get("reader") or given.get("condition") == "server"
    return bool(asks) and urlsplit(given.get("base_url", "")).hostname not in ("127.0.0.1", "localhost", "::1")


def show_estimate(step: Step, run_dir: Path) -> bool:
    """Print what a step will pay for; whether it will pay at all."""
    if not is_paid(step):
        return False
    try:
        table = _estimate(step, run_dir)
    except (OSError, ValueError) as error:
        table = {"estimate": f"after 01_corpus ({error})"}
    console.print(plain("  " + ", ".join(f"{name}: {value}" for name, value in table.items())))
    return True


def _estimate(step: Step, run_dir: Path) -> dict[str, Any]:
    settings = {p.name: p.default for p in notebook_parameters(step.notebook)} | step.parameters
    exam = read_jsonl(run_dir / "01_corpus" / "exam.jsonl", Chain)
    if step.key == "evaluate":
        n = sum(len(chain.questions) for chain in by_split(exam, settings["split"]))
        usd = f"at most {settings['budget_usd']:g}" if settings["budget_usd"] else "no budget_usd is set"
        return {"requests": f"{3 * n} or fewer", "USD": usd, "hours": _hours(3 * n, settings)}
    book, train = read_jsonl(run_dir / "01_corpus" / "passages.jsonl", Passage), by_split(exam, "train")
    part, style = book[: settings["max_passages"] or None], measure_style(train)
    costs = expected_cost(
        from_settings(settings, step.folder, book),
        lambda asked, number: requests_for(part, train[: settings["examples"]], style, asked, round=number),
        settings["requests_per_passage"], ReplyCache(step.folder / "replies.jsonl"), book,
        int(bool(settings["reader"])),
    )  # fmt: skip
    return costs | {"hours": _hours(int(costs.get("requests", 0)), settings)}


def _hours(requests: int, settings: dict[str, Any]) -> str:
    hours = requests * REPLY_S / 3600 / settings["concurrency"]
    return "up to 24 a job" if settings.get("source") == "batch" else f"about {hours:.1f}, if a reply takes {REPLY_S} s"
