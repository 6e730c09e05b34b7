"""A passage as a person reads it: escaped HTML, with what the exam shares marked in its text."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mqg_utils.records import Question
from mqg_utils.text.words import WORD, words
from mqg_utils.widgets.passage_index import Shelf, shared_row

STYLE = """<style>
.mqg-page { max-width: 46em; line-height: 1.5; padding: 0 .3em }
.mqg-page h3 { margin: .2em 0 } .mqg-page h4 { margin: 1.1em 0 .3em } .mqg-page p { margin: .5em 0 }
.mqg-page .quiet { opacity: .75; font-size: .92em }
.mqg-page .text { white-space: pre-wrap; border-left: 3px solid #8a94a6; padding-left: .8em; overflow-wrap: anywhere }
.mqg-page mark { background: rgba(255, 176, 0, .32); color: inherit; border-bottom: 2px solid #c8870b }
.mqg-page table { border-collapse: collapse } .mqg-page :is(td, th) { text-align: left; vertical-align: top;
  padding: .15em .8em .15em 0; white-space: normal; overflow-wrap: anywhere }
.mqg-page li { margin: .15em 0 }
</style>"""


def page(shelf: Shelf, index: int) -> str:
    """A passage as HTML: its text with what the exam shares marked, its near-duplicates and its questions."""
    held = shelf.held[index]
    passage = held.passage
    facts = [f"{passage.n_tokens:,} tokens", f"{len(passage.text.split()):,} words", passage.place, passage.passage_id]
    parts = [
        f"<h3>{escape(held.title)}</h3>",
        f'<p class="quiet">{escape(" › ".join((passage.book, *passage.section)))}<br>',
        f"{escape(' · '.join(filter(None, facts)))}</p>",
        f'<div class="text">{marked(passage.text, [pair.b_text for pair in held.shared])}</div>',
        f"<h4>Shared with the exam: {_count(len(held.shared), 'place')}</h4>",
    ]
    if held.shared:
        parts.append(_table([shared_row(shelf, pair) for pair in held.shared]))
    places = shelf.places()
    parts.append(f"<h4>Near-duplicates in this run: {len(held.twins)}</h4>")
    for other, like in held.twins:
        text = shelf.held[places[other]].passage.text
        said = f"{escape(other)}, {like:.0%} alike"
        parts.append(f'<details><summary>{said}</summary><div class="text">{escape(text)}</div></details>')
    parts.append(f"<h4>Questions written from it: {len(held.questions)}</h4>")
    parts += [_question(question) for question in held.questions]
    return f'{STYLE}<div class="mqg-page">{"".join(parts)}</div>'


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _question(question: Question) -> str:
    items = "".join(f"<li>{'✓ true' if p.is_true else '✗ false'}: {escape(p.text)}</li>" for p in question.propositions)
    return f"<p>{escape(question.stem)}</p><ul>{items}</ul>"


def marked(text: str, runs: Iterable[str]) -> str:
    """The text as HTML, with <mark> around the words of every run; one that is not found word for word is left out."""
    places = [(word, match.start(), match.end()) for match in WORD.finditer(text) for word in words(match.group())]
    text_words = tuple(word for word, _, _ in places)
    inside = [False] * len(text)
    for run in runs:
        run_words = words(run)
        for start in range(len(text_words) - len(run_words) + 1):
            if run_words and text_words[start : start + len(run_words)] == run_words:
                first, last = places[start][1], places[start + len(run_words) - 1][2]
                inside[first:last] = [True] * (last - first)
    html, open_ = [], False
    for i, char in enumerate(text):
        if inside[i] != open_:
            html.append("<mark>" if inside[i] else "</mark>")
            open_ = inside[i]
        html.append(escape(char))
    return "".join(html) + "</mark>" * open_
