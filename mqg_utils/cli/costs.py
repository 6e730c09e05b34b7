"""What a run will pay for requests, before the first of them."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mqg_utils.records import Chain, Passage, by_split, read_jsonl
from mqg_utils.teacher.base import expected_cost, from_settings
from mqg_utils.teacher.cache import ReplyCache
from mqg_utils.teacher.prompts import measure_style, requests_for
from mqg_utils.workflow.parameters import notebook_parameters
from mqg_utils.workflow.plan import Step


def is_paid(step: Step) -> bool:
    """Whether a step sends requests to a server that is not on this machine."""
    server = step.parameters.get("source") in ("server", "batch") or step.parameters.get("condition") == "server"
    host = urlsplit(step.parameters.get("base_url", "")).hostname
    return server and host not in ("127.0.0.1", "localhost", "::1")


def estimate(step: Step, run_dir: Path) -> dict[str, Any]:
    """The requests, tokens and USD of a paid step, once 01_corpus is complete. Raises ValueError, OSError."""
    settings = {p.name: p.default for p in notebook_parameters(step.notebook)} | step.parameters
    exam = read_jsonl(run_dir / "01_corpus" / "exam.jsonl", Chain)
    if step.key == "evaluate":
        n = sum(len(chain.questions) for chain in by_split(exam, settings["split"]))
        return {"requests": f"{3 * n} or fewer", "USD": f"at most budget_usd={settings['budget_usd']:g} (0: no limit)"}
    book, train = read_jsonl(run_dir / "01_corpus" / "passages.jsonl", Passage), by_split(exam, "train")
    part, style = book[: settings["max_passages"] or None], measure_style(train)
    return expected_cost(
        from_settings(settings, step.folder, book),
        lambda asked, number: requests_for(part, train[: settings["examples"]], style, asked, round=number),
        settings["requests_per_passage"],
        ReplyCache(step.folder / "replies.jsonl"),
        book,
        int(bool(settings["reader"])),
    )
