"""The desk at which questions are reviewed; `verification.review` stores and checks the decisions."""

import random
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.display import display

from mqg_utils.records import Chain, Question
from mqg_utils.report.figures import table
from mqg_utils.text.search import question_text
from mqg_utils.verification import review
from mqg_utils.verification.quotes import split_at_quotes
from mqg_utils.widgets.case_text import read_case, write_case
from mqg_utils.widgets.keys import LABEL, LETTERS, KeyBox, button, dropdown, notice, reporting, row, show, text_field
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate

EDIT = "A line begins with ? (stem), + (true proposition), - (false proposition) or > (the quote of the one above)."
KEYS = "Keys: A accept · R reject · E edit · K show the key · 1 to 5 rate · N next · P previous · O next open"
BUTTONS = {"Accept (A)": "success", "Reject (R)": "danger", "Edit (E)": "", "‹ Previous (P)": "", "Next (N) ›": ""}
EXAM = "exam"
STATIC_QUESTIONS = 20  # rows of the table shown without a kernel


class ReviewDesk:
    """One question beside its passage at a time. Every decision is saved before the next question is shown."""

    def __init__(self, run: str | Path, reviewer: str = "") -> None:
        folder = locate(str(run))
        self.run, self.exam = review.ReviewSet(folder), review.ReviewSet(folder, of_exam=True)
        self.at, self.acts = 0, dict[str, Callable[[], None]]()  # key -> what it does on this screen
        self.keybox = KeyBox(self.press)
        self.view, self.panel = ipw.HTML(), ipw.VBox().add_class("panel")
        self.comment = text_field("Comment", continuous_update=False)
        self.comment.observe(lambda _: self._comment(), "value")  # once the field is left
        dropped = sorted({_reason(item) for item in self.run.items if item.dropped})
        options = [("generated questions", ""), *((f"dropped: {reason}", reason) for reason in dropped)]
        self.what = dropdown("Show", [*options, ("the exam", EXAM)])
        self.find = text_field("with the words", continuous_update=False)
        self.sample = ipw.BoundedIntText(0, max=10**6, description="sample (0: all)", style=LABEL)
        self.blind = ipw.Checkbox(description="blind: hide the key", indent=False)
        for control in (self.what, self.find, self.sample, self.blind):
            control.observe(lambda _: self._choose(), "value")
        self.reviewers: dict[bool, review.Reviewer] = {}  # by whether they review the exam; set by `_begin`
        text = "Every decision is saved under this name at once; enter the same name to resume."
        self.name = self.keybox.ask_name(reviewer, text, self._begin)
        if reviewer and not self.run.missing:
            self._begin()

    def _begin(self) -> None:
        with reporting(self.keybox.message, ""):
            self.reviewers = {s.of_exam: review.Reviewer(s, self.name.value) for s in (self.run, self.exam)}
            choice = row(self.what, self.find, self.sample, self.blind)
            self.keybox.content.children = [choice, self.view, self.panel]
            self._choose()

    @property
    def reviewer(self) -> review.Reviewer:
        return self.reviewers[self.what.value == EXAM]

    @property
    def item(self) -> review.Item:
        return self.reviewer.items[self.at]

    def _choose(self) -> None:
        """Show the questions that pass the filter; a sample of them is the same for everyone."""
        what, text = self.what.value, self.find.value.casefold()
        items = [i for i in self.reviewer.run.items if what in (EXAM, _reason(i))]
        items = [i for i in items if text in f"{i.chain.vignette} {question_text(i.question)}".casefold()]
        sample = random.Random(0).sample(range(len(items)), min(self.sample.value or len(items), len(items)))
        self.reviewer.items = [items[place] for place in sorted(sample)]
        self.at = self.reviewer.next_open() or 0
        self.keybox.say("" if items else "No question passes this filter.")
        self._draw()

    def _draw(self, show_key: bool = False) -> None:
        """Show the question as it is saved now."""
        if not self.reviewer.items:
            self.view.value, self.panel.children, self.acts = "", [], {}
            return
        self.reviewer.refresh()
        opinion, item = self.reviewer.opinion(self.item), self.item
        question = opinion.edited or item.question
        blind = self.blind.value and not (opinion.decision or show_key)
        passage = self.run.passages.get(question.propositions[0].passage_id)
        quotes = [] if blind or not passage else [p.quote for p in question.propositions]
        parts = split_at_quotes(passage.text, quotes) if passage else []
        self.view.value = fragment(
            "review.html.j2", number=self.at + 1, reviewer=self.reviewer, opinion=opinion, most=review.MAX_RATING,
            item=item, question=question, passage=passage, parts=parts, letters=LETTERS, blind=blind,
            lost=set(range(len(quotes))).difference(*(by for _, by in parts)),
        )  # fmt: skip
        self.acts = {
            "a": partial(self._decide, "accepted"), "r": self._ask_reason, "e": self._ask_edit, "o": self._go_to_open,
            "k": partial(self._draw, show_key=True), "n": partial(self._move, 1), "p": partial(self._move, -1),
            **{str(i): partial(self._decide, rating=i) for i in range(1, review.MAX_RATING + 1)},
        }  # fmt: skip
        labels = BUTTONS | ({"Show the key (K)": ""} if blind else {})
        buttons = [button(name, self.acts[name.split("(")[1][0].lower()], labels[name]) for name in labels]
        keys = [key for key in self.acts if key.isdecimal()]
        ratings = [button(key, self.acts[key], "info" if key == str(opinion.rating) else "") for key in keys]
        self.comment.value = opinion.comment
        remark = row(ipw.Label("Rate, 5 is best"), *ratings, self.comment)
        self.panel.children = [row(*buttons), remark, ipw.HTML(f'<span class="where">{KEYS}</span>')]
        self.keybox.new_screen()

    def _back(self) -> None:
        self.keybox.say("")
        self._draw()

    def _ask_reason(self) -> None:
        self.acts = {str(i): partial(self._decide, "rejected", reason=r) for i, r in enumerate(review.REASONS, 1)}
        reasons = [button(f"{i}\u2002{r}", self.acts[str(i)]) for i, r in enumerate(review.REASONS, 1)]
        self.acts["escape"] = self._back
        why = ipw.HTML("<b>Why do you reject it?</b> Press a number, or Escape to go back.")
        self.panel.children = [why, row(*reasons), row(button("Back (Escape)", self._back))]
        self.keybox.new_screen(".panel")

    def _ask_edit(self) -> None:
        self.acts = {"Save": self._save_edit, "escape": self._back}
        question = self.reviewer.opinion(self.item).edited or self.item.question
        # the text is sent when the box loses the focus, so before a button can be pressed
        self.text = ipw.Textarea(rows=14, continuous_update=False, layout={"width": "100%"})
        self.text.value = write_case(_alone(self.item, question), quotes=True)
        save = button("Save the edit (Ctrl+Enter)", self._save_edit, "primary")
        hint = ipw.HTML(f'<span class="where">{escape(EDIT)}</span>')
        self.panel.children = [hint, self.text, row(save, button("Back (Escape)", self._back))]
        self.keybox.new_screen(".panel textarea")
        self.text.focus()

    def press(self, key: str) -> None:
        """A key, or its button."""
        self.acts.get(key, lambda: None)()

    def _move(self, step: int) -> None:
        self.at = (self.at + step) % len(self.reviewer.items)
        self._back()

    def _go_to_open(self) -> None:
        following = self.reviewer.next_open(self.at + 1)
        self.at = self.at if following is None else following
        self._draw()
        if following is None:
            self.keybox.say("You have decided on every question. N and P show them again.")

    def _decide(self, decision: review.Decision = "", **fields: Any) -> None:
        text = ", ".join(filter(None, [decision or f"rated {fields.get('rating')}", fields.get("reason")]))
        with reporting(self.keybox.message, "Not saved. "):
            self.reviewer.decide(self.item, decision, **fields)
            self.keybox.say(f"Saved: {text} · {self.item.question.stem[:80]}")
            (self._go_to_open if decision else self._draw)()

    def _comment(self) -> None:
        comment = self.comment.value.strip()
        if comment not in ("", self.reviewer.opinion(self.item).comment):
            self.reviewer.decide(self.item, comment=comment)
            self.keybox.say("Saved: comment")

    def _save_edit(self) -> None:
        question = self.item.question
        passage_id = question.propositions[0].passage_id
        known = {(p.text, p.is_true): p for p in question.propositions}  # keep weight and explanation of these
        with reporting(self.keybox.message, "Not saved. "):
            edited, *more = read_case(self.text.value, like=_alone(self.item, question)).questions
            if more:
                raise ValueError("edit one question at a time: remove the second line that begins with ?")
            propositions = [
                known.get((p.text, p.is_true), p).model_copy(update={"passage_id": passage_id, "quote": p.quote})
                for p in edited.propositions
            ]
            self._decide("edited", edited=edited.model_copy(update={"propositions": tuple(propositions)}))

    def show(self) -> None:
        """Display the desk; without a kernel a table of the first questions, without questions what to do."""
        if self.run.missing:
            display(notice(self.run.missing))
            return
        latest = review.read_opinions(self.run.file)
        rows = [(item, latest.get(item.text_hash, {})) for item in self.run.items[:STATIC_QUESTIONS]]
        show(self.keybox.box, fragment("review_table.html.j2", rows=rows, of=len(self.run.items)))

    def show_agreement(self) -> None:
        """Display Cohen's kappa of every two reviewers, and where they differ."""
        latest = review.read_opinions(self.run.file)
        pairs, differing = review.agreement(latest), review.disagreements(self.run.items, latest)
        display(table(pairs) if pairs else notice("No two reviewers have decided on the same question yet.", bad=False))
        display(table(differing) if differing else notice("Reviewers differ on no question.", bad=False))


def _alone(item: review.Item, question: Question) -> Chain:
    return item.chain.model_copy(update={"vignette": "", "questions": (question,)})


def _reason(item: review.Item) -> str:
    """Why a question was dropped, in a word or two; "" if it was not."""
    return item.dropped.split(":")[0]
