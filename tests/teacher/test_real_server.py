"""Stage 03 against a server that nobody here wrote, where MQG_TEST_SERVER holds its base URL (ending in /v1).

For example llama.cpp's: `python -m llama_cpp.server --model FILE.gguf --host 127.0.0.1 --port 8000`.
"""

import json
import os
from pathlib import Path

import pytest
import simulated
from test_generate_notebook import book, execute

from mqg_utils.records import Chain, write_jsonl
from mqg_utils.teacher.cache import ReplyCache

URL = os.environ.get("MQG_TEST_SERVER", "")


@pytest.mark.skipif(not URL, reason="MQG_TEST_SERVER names no server; set it to the base URL of one")
def test_stage_03_ends_with_an_outcome_for_every_request(tmp_path: Path) -> None:
    (tmp_path / "01_corpus").mkdir()
    write_jsonl(tmp_path / "01_corpus" / "passages.jsonl", book()[:2])
    question = {"question_id": "q", "stem": "Of what?", "propositions": [{"text": "Of tin.", "is_true": True}]}
    exam = Chain.model_validate({"chain_id": "e", "split": "train", "questions": [question]})
    write_jsonl(tmp_path / "01_corpus" / "exam.jsonl", [exam])
    simulated.seal(tmp_path, "01_corpus")
    model = os.environ.get("MQG_TEST_MODEL", "m")
    ran = execute(tmp_path, URL, "notebook", teacher_model=model, max_tokens=700, concurrency=1, min_kept=0)
    logs = ran.communicate(timeout=3600)[0]
    assert ran.returncode == 0, logs
    stage = tmp_path / "03_generate"
    summary = json.loads((stage / "summary.json").read_text(encoding="utf-8"))
    cache = ReplyCache(stage / "replies.jsonl")
    assert {reply.passage_id for reply in cache.outcomes} == {"p0", "p1"} and (stage / "manifest.json").exists()
    assert sum(cache.counts().values()) == sum(n for name, n in summary.items() if name.startswith("outcomes."))
    assert summary["completion_tokens"] > 0
