"""The chains of the page as data: what a question carries, and how little room a thousand take."""

import base64
import gzip
import json
from dataclasses import replace

import simulated
from small import chain, passage, question

from mqg_utils.analysis.results import Run
from mqg_utils.report.findings import Findings
from mqg_utils.report.page_data import PASSAGE_CHARACTERS, chain_data, packed


def data_of(run: Run) -> dict:
    return chain_data(Findings(run, repeats=20))


def test_what_is_packed_comes_back_and_means_nothing_to_html() -> None:
    data = {"x": "</script><b>& 診断"}
    block = packed(data)
    assert set(block) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert json.loads(gzip.decompress(base64.b64decode(block))) == data
    assert packed(data) == block, "no time is in it"


def test_an_answer_is_thousandths_and_a_tick_or_the_word_for_what_went_wrong() -> None:
    run = simulated.run([chain(question("Which?", "x", "y"))], ("base",), histories=("gold",))
    first, second = run.predictions
    answers = [
        first.model_copy(update={"p_true": 0.9126, "predicted": True}),
        second.model_copy(update={"p_true": None, "predicted": None, "status": "refused"}),
    ]
    ((asked,),) = [c["qs"] for c in data_of(replace(run, predictions=answers))["chains"]]
    assert [p["a"] for p in asked["p"]] == [[[913, 1]], [[None, "refused"]]]


def test_a_passage_that_a_question_names_is_in_the_page_cut_to_its_share() -> None:
    asked = question("Which?", "alpha", "beta")
    asked["propositions"][0]["passage_id"] = "far"
    books = [passage("words " * PASSAGE_CHARACTERS, "far"), passage("nothing of it", "other")]
    run = replace(simulated.run([chain(asked)], ("base",)), passages=books)
    shown = {p["id"]: (len(p["x"]), p["cut"]) for p in data_of(run)["passages"]}
    assert shown["far"] == (PASSAGE_CHARACTERS // len(shown), True)
