"""The desk at which generated questions are reviewed; `verification.review` stores and checks the decisions."""

from functools import partial
from html import escape
from pathlib import Path

import ipywidgets as ipw
from IPython.display import display

from mqg_utils.records import Chain, Question
from mqg_utils.report.figures import table
from mqg_utils.verification import review
from mqg_utils.verification.quotes import split_at_quotes
from mqg_utils.widgets.case_text import CaseTextError, read_case, write_case
from mqg_utils.widgets.keys import LETTERS, ROW, KeyBox, button, notice, show, style
from mqg_utils.workflow.pages import fragment
from mqg_utils.workflow.paths import locate

EDIT = "A line begins with ? (stem), + (true proposition), - (false proposition) or > (the quote of the one above)."
KEYS = "Keys: A accept · R reject · E edit · 1 to 5 rate · N next · P previous · O next open"
RATE = f"1 is useless, {review.MAX_RATING} is fit for an exam"
BUTTONS = {"Accept (A)": "success", "Reject (R)": "danger", "Edit (E)": "", "‹ Previous (P)": "", "Next (N) ›": ""}
STATIC_QUESTIONS = 20  # rows of the table shown without a kernel


class ReviewDesk:
    """One question beside its passage at a time. Every decision is saved before the next question is shown."""

    def __init__(self, run: str | Path, reviewer: str = "") -> None:
        self.run, self.at, self.mode = review.ReviewSet(locate(str(run))), 0, "name"
        self.keybox = KeyBox(self.press)
        self.view, self.panel = ipw.HTML(), ipw.VBox()
        self.panel.add_class("panel")
        self.reviewer: review.Reviewer  # set by `_begin`
        text = "Every decision is saved under this name at once; enter the same name to resume."
        self.name = self.keybox.ask_name(reviewer, text, self._begin)
        if reviewer and not self.run.missing:
            self._begin()

    def _begin(self) -> None:
        try:
            self.reviewer = review.Reviewer(self.run, self.name.value)
        except review.ReviewError as error:
            self.keybox.say(str(error), bad=True)
            return
        self.at = self.reviewer.next_open() or 0
        self.keybox.fill([self.view, self.panel])
        self._draw()

    @property
    def item(self) -> review.Item:
        return self.run.items[self.at]

    def _draw(self) -> None:
        """Show the question as it is saved now."""
        self.reviewer.refresh()
        self.mode = "decide"
        opinion, item = self.reviewer.opinion(self.item), self.item
        question = opinion.edited or item.question
        passage = self.run.passages.get(question.propositions[0].passage_id)
        parts = split_at_quotes(passage.text, [p.quote for p in question.propositions]) if passage else []
        quoted = {i for _, by in parts for i in by}
        self.view.value = fragment(
            "review.html.j2", number=self.at + 1, of=len(self.run.items), decided=self.reviewer.decided,
            reviewer=self.reviewer.name, opinion=opinion, most=review.MAX_RATING, chain=item.chain,
            before=item.earlier, question=question, passage=passage, parts=parts,
            lost=set(range(len(question.propositions))) - quoted if passage else set(), letters=LETTERS,
        )  # fmt: skip
        buttons = [
            button(label, partial(self.press, label.split("(")[1][0].lower()), colour)
            for label, colour in BUTTONS.items()
        ]
        ratings = [
            button(str(i), partial(self.press, str(i)), "info" if opinion.rating == i else "", RATE)
            for i in range(1, review.MAX_RATING + 1)
        ]
        rate = ipw.HBox([ipw.HTML("<span>Rate</span>"), *ratings], layout=ROW)
        self.panel.children = [ipw.HBox(buttons, layout=ROW), rate, ipw.HTML(f'<span class="where">{KEYS}</span>')]
        self.keybox.new_screen()

    def _ask_reason(self) -> None:
        self.mode = "reject"
        text = ipw.Text(placeholder="another reason", layout={"width": "min(100%, 420px)"})
        reasons = [
            button(f"{i}\u2002{reason}", partial(self.press, str(i))) for i, reason in enumerate(review.REASONS, 1)
        ]
        other = button("Reject for this reason", lambda: self._decide("rejected", reason=text.value))
        self.panel.children = [
            ipw.HTML("<b>Why do you reject it?</b> Press a number, or Escape to go back."),
            ipw.HBox(reasons, layout=ROW),
            ipw.HBox([text, other], layout=ROW),
            ipw.HBox([button("Back (Escape)", self._draw)]),
        ]
        self.keybox.new_screen(".panel")

    def _ask_edit(self) -> None:
        self.mode = "edit"
        question = self.reviewer.opinion(self.item).edited or self.item.question
        self.before = write_case(_alone(self.item.chain, question), quotes=True)
        # the text is sent when the box loses the focus, so before a button can be pressed
        self.text = ipw.Textarea(self.before, rows=14, continuous_update=False, layout={"width": "100%"})
        save = button("Save the edit (Ctrl+Enter)", self._save_edit, "primary")
        hint = ipw.HTML(f'<span class="where">{escape(EDIT)}</span>')
        self.panel.children = [hint, self.text, ipw.HBox([save, button("Back (Escape)", self._draw)], layout=ROW)]
        self.keybox.new_screen(".panel textarea")
        self.text.focus()

    def press(self, key: str) -> None:
        """A key, or its button."""
        number = int(key) if key.isdecimal() else 0
        if self.mode == "name":
            return
        if self.mode != "decide":
            if key == "escape":
                self.keybox.say("")
                self._draw()
            elif self.mode == "edit" and key == "Save":
                self._save_edit()
            elif self.mode == "reject" and 0 < number <= len(review.REASONS):
                self._decide("rejected", reason=review.REASONS[number - 1])
        elif key == "a":
            self._decide("accepted")
        elif key == "r":
            self._ask_reason()
        elif key == "e":
            self._ask_edit()
        elif 0 < number <= review.MAX_RATING:
            self._decide(rating=number)
        elif key in ("n", "p"):
            self.at = (self.at + (1 if key == "n" else -1)) % len(self.run.items)
            self.keybox.say("")
            self._draw()
        elif key == "o":
            self._go_to_open()

    def _go_to_open(self) -> None:
        following = self.reviewer.next_open(self.at + 1)
        self.at = self.at if following is None else following
        self._draw()
        if following is None:
            self.keybox.say("You have decided on every question. N and P show them again.")

    def _decide(
        self, decision: review.Decision = "", reason: str = "", rating: int = 0, edited: Question | None = None
    ) -> None:
        text = ", ".join(filter(None, [decision or f"rated {rating}", reason]))
        saved = f"Saved: {text} · {self.item.question.stem[:80]}"
        try:
            self.reviewer.decide(self.item, decision, reason, rating, edited)
        except (review.ReviewError, OSError) as error:
            if self.mode != "edit":
                self._draw()  # an edit in progress stays
            self.keybox.say(f"Not saved. {error}", bad=True)
            return
        self.keybox.say(saved)
        (self._go_to_open if decision else self._draw)()

    def _save_edit(self) -> None:
        question = self.item.question
        try:
            edited, *more = read_case(self.text.value, like=_alone(self.item.chain, question)).questions
            if more:
                raise CaseTextError("edit one question at a time: remove the second line that begins with ?")
            if self.text.value.split() == self.before.split():
                raise CaseTextError("nothing has changed; press Escape, then accept the question as it is")
        except CaseTextError as error:
            self.keybox.say(f"Not saved. {error}", bad=True)
            return
        passage_id = question.propositions[0].passage_id
        known = {(p.text, p.is_true): p for p in question.propositions}  # keep weight and explanation of these
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
        rows = [(item.question, latest.get(item.text_hash, {})) for item in self.run.items[:STATIC_QUESTIONS]]
        show(self.keybox.box, style() + fragment("review_table.html.j2", rows=rows, of=len(self.run.items)))

    def show_agreement(self) -> None:
        """Display Cohen's kappa of every two reviewers, and where they differ."""
        latest = review.read_opinions(self.run.file)
        for rows, none in (
            (review.agreement(latest), "No two reviewers have decided on the same question yet."),
            (review.disagreements(self.run.items, latest), "Reviewers differ on no question."),
        ):
            display(table(rows) if rows else notice(none))


def _alone(chain: Chain, question: Question) -> Chain:
    return chain.model_copy(update={"vignette": "", "questions": (question,)})
