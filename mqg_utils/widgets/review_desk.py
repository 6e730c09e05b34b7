"""The desk at which generated questions are reviewed. What is said of them is kept by `reviews`."""

from collections.abc import Callable
from html import escape

import ipywidgets as ipw

from mqg_utils.records import Proposition, Question
from mqg_utils.verification.quotes import split_at_quotes
from mqg_utils.verification.review import (
    MAX_RATING,
    REASONS,
    Decision,
    Item,
    Reviewer,
    ReviewError,
    ReviewSet,
    agreement,
    disagreements,
    opinions,
)
from mqg_utils.widgets import keys as desk
from mqg_utils.widgets.keys import ROW, Desk, button
from mqg_utils.workflow.pages import fragment

KEYS = "Keys: A accept · R reject · E edit · 1 to 5 rate · N next · P previous · O next open"


class ReviewDesk:
    """One question beside its passage at a time. Every decision is saved before the next question is shown."""

    def __init__(self, run: ReviewSet, reviewer: str = "") -> None:
        self.run, self.at, self.mode = run, 0, "name"
        self.desk = Desk(self.press)
        self.view, self.panel = ipw.HTML(), ipw.VBox()
        self.panel.add_class("panel")
        self.name = ipw.Text(reviewer, description="Your name", style={"description_width": "auto"})
        self.review: Reviewer | None = None
        self._ask_name()
        if reviewer:
            self._begin()

    # --- who ---

    def _ask_name(self) -> None:
        words = "Every decision is saved under this name at once. The same name goes on where it stopped."
        said = ipw.HTML(fragment("said.html.j2", words=words, bad=False))
        begin = button("Begin", self._begin, "primary")
        self.desk.fill([ipw.HBox([self.name, begin], layout=ROW), said])

    def _begin(self) -> None:
        try:
            self.review = Reviewer(self.run, self.name.value)
        except ReviewError as error:
            self.desk.say(str(error), bad=True)
            return
        first = self.review.next_open()
        self.at = 0 if first is None else first
        self.desk.fill([self.view, self.panel])
        self._draw()

    # --- what is on screen ---

    @property
    def item(self) -> Item:
        return self.run.items[self.at]

    def _draw(self) -> None:
        """Show the question, as the file has it by now."""
        assert self.review is not None
        self.review.refresh()
        self.mode = "decide"
        opinion, item = self.review.opinion(self.item), self.item
        question = opinion.edited or item.question
        passage = self.run.passages.get(question.propositions[0].passage_id)
        parts = split_at_quotes(passage.text, [p.quote for p in question.propositions]) if passage else []
        found = {i for _, by in parts for i in by}
        self.view.value = fragment(
            "review.html.j2", number=self.at + 1, of=len(self.run.items), decided=self.review.decided,
            reviewer=self.review.name, opinion=opinion, most=MAX_RATING, chain=item.chain,
            before=item.earlier, question=question, passage=passage, parts=parts,
            lost=set(range(len(question.propositions))) - found if passage else set(), letters=desk.LETTERS,
        )  # fmt: skip
        self.panel.children = [
            ipw.HBox(
                [
                    button("Accept (A)", lambda: self.press("a"), "success"),
                    button("Reject (R)", lambda: self.press("r"), "danger"),
                    button("Edit (E)", lambda: self.press("e")),
                    button("‹ Previous (P)", lambda: self.press("p")),
                    button("Next (N) ›", lambda: self.press("n")),
                ],
                layout=ROW,
            ),
            ipw.HBox([ipw.HTML("Rate"), *(self._rating(i) for i in range(1, MAX_RATING + 1))], layout=ROW),
            ipw.HTML(f'<span class="where">{escape(KEYS)}</span>'),
        ]
        self.desk.renew()

    def _rating(self, value: int) -> ipw.Button:
        assert self.review is not None
        chosen = self.review.opinion(self.item).rating == value
        tooltip = f"{value} of {MAX_RATING}: 1 is useless, {MAX_RATING} could stand in an exam"
        return button(str(value), lambda: self.press(str(value)), "info" if chosen else "", tooltip)

    def _ask_reason(self) -> None:
        self.mode = "reject"
        own = ipw.Text(placeholder="another reason, in your words", layout={"width": "min(100%, 420px)"})
        self.panel.children = [
            ipw.HTML("<b>Why is it rejected?</b> Press a number, or Escape to go back."),
            ipw.HBox([button(f"{i}\u2002{r}", self._rejects(r)) for i, r in enumerate(REASONS, 1)], layout=ROW),
            ipw.HBox([own, button("Reject for this reason", lambda: self._rejects(own.value)())], layout=ROW),
            ipw.HBox([button("Back (Escape)", self._draw)]),
        ]  # fmt: skip
        self.desk.renew(".panel")

    def _rejects(self, reason: str) -> Callable[[], None]:
        return lambda: self._decide("rejected", reason=reason)

    def _ask_edit(self) -> None:
        assert self.review is not None
        self.mode = "edit"
        question = self.review.opinion(self.item).edited or self.item.question
        self.stem = _text(question.stem, "Stem")
        self.rows = [
            (
                ipw.Checkbox(p.is_true, description="true", indent=False, layout={"width": "80px"}),
                _text(p.text, f"Proposition {desk.LETTERS[i].upper()}"),
                _text(p.quote, "its quote"),
            )
            for i, p in enumerate(question.propositions)
        ]
        made = []
        for truth, text, quote in self.rows:
            made.append(ipw.VBox([ipw.HBox([text, truth], layout={**ROW, "flex_flow": "row nowrap"}), quote]))
            made[-1].add_class("edit")
        save = button("Save the edit (Ctrl+Enter)", self._save_edit, "primary")
        cancel = button("Back (Escape)", self._draw)
        self.panel.children = [self.stem, *made, ipw.HBox([save, cancel], layout=ROW)]
        self.desk.renew(".panel textarea")
        self.stem.focus()

    # --- what happens ---

    def press(self, key: str) -> None:
        """A key, or the button that stands for it."""
        if self.review is None:
            return
        if self.mode != "decide":
            if key == "escape":
                self.desk.say("")
                self._draw()
            elif self.mode == "edit" and key == "Save":
                self._save_edit()
            elif self.mode == "reject" and key.isdecimal() and 0 < int(key) <= len(REASONS):
                self._decide("rejected", reason=REASONS[int(key) - 1])
            return
        if key == "a":
            self._decide("accepted")
        elif key == "r":
            self._ask_reason()
        elif key == "e":
            self._ask_edit()
        elif key.isdecimal() and 0 < int(key) <= MAX_RATING:
            self._decide(rating=int(key))
        elif key in ("n", "p"):
            self._move((self.at + (1 if key == "n" else -1)) % len(self.run.items))
        elif key == "o":
            self._to_open()

    def _move(self, index: int) -> None:
        self.at = index
        self.desk.say("")
        self._draw()

    def _to_open(self) -> None:
        assert self.review is not None
        following = self.review.next_open(self.at + 1)
        if following is None:
            self._draw()
            self.desk.say("Every question has your decision. N and P look at them again.")
        else:
            self.at = following
            self._draw()

    def _decide(
        self, decision: Decision = "", reason: str = "", rating: int = 0, edited: Question | None = None
    ) -> None:
        assert self.review is not None
        try:
            self.review.decide(self.item, decision, reason, rating, edited)
        except (ReviewError, OSError) as error:
            if self.mode != "edit":
                self._draw()  # what another window decided; an edit under way is left as it is
            self.desk.say(f"Not saved. {error}", bad=True)
            return
        short = self.item.question.stem[:80]
        self.desk.say(f"Saved: {decision or f'rated {rating}'}{', ' + reason if reason else ''} · {short}")
        if decision:
            self._to_open()
        else:
            self._draw()

    def _save_edit(self) -> None:
        old = self.item.question
        try:
            edited = old.model_copy(
                update={
                    "stem": self.stem.value,
                    "propositions": tuple(
                        _edited(p, *(control.value for control in row))
                        for p, row in zip(old.propositions, self.rows, strict=True)
                    ),
                }
            )
            edited = Question.model_validate(edited.model_dump())
        except ValueError as error:  # an empty text, or a single question with two true propositions
            self.desk.say(f"Not saved. {_first(error)}", bad=True)
            return
        if edited == old:
            self.desk.say("Nothing was changed. Press Escape, then accept it as it is.", bad=True)
            return
        self._decide("edited", edited=edited)


def _text(value: str, words: str) -> ipw.Textarea:
    # its text is sent when the focus leaves it, and so before a button can be pressed
    return ipw.Textarea(
        value, description=words, rows=2, continuous_update=False, layout={"width": "100%", "max_width": "900px"},
        style={"description_width": "110px"},
    )  # fmt: skip


def _edited(p: Proposition, is_true: bool, text: str, quote: str) -> Proposition:
    weight = p.weight if is_true == p.is_true else "normal"  # an indispensable one cannot be false
    explanation = p.explanation if (text, is_true) == (p.text, p.is_true) else ""  # it was about the old words
    return p.model_copy(
        update={"text": text, "is_true": is_true, "quote": quote, "weight": weight, "explanation": explanation}
    )


def _first(error: ValueError) -> str:
    from pydantic import ValidationError

    from mqg_utils.records import problems_of

    return problems_of(error)[0] if isinstance(error, ValidationError) else str(error)


def show_desk(run: ReviewSet, reviewer: str = "") -> ReviewDesk | None:
    """Display the desk, and a table of the first questions where there is no kernel; in words what a run lacks."""
    from IPython.display import display

    if run.missing:
        display(desk.notice(run.missing))
        return None
    made = ReviewDesk(run, reviewer)
    desk.show(made.desk.box, still(run))
    return made


def still(run: ReviewSet, most: int = 20) -> str:
    """The first questions as a table, with what reviewers decided."""
    found = opinions(run.reviews())
    rows = [(item.question, found.get(item.text_hash, {})) for item in run.items[:most]]
    return desk.style() + fragment("reviewed.html.j2", rows=rows, of=len(run.items))


def show_agreement(run: ReviewSet) -> None:
    """Display who decided what, Cohen's kappa of every two reviewers, and where they differ."""
    from IPython.display import display

    found = opinions(run.reviews())
    display(desk.table(run.progress(), "Nobody has reviewed a question of this run yet."))
    display(desk.table(agreement(found), "No two reviewers have decided on one question yet."))
    display(desk.table(disagreements(run.items, found), "There is no question on which reviewers differ."))
