"""Test questions found in what a student is trained on: the check that fails a run before it trains."""

import re
from collections.abc import Iterable, Sequence

from mqg_utils.records import Chain

RUN_WORDS = 12  # of a case: so long a run of words is no coincidence


class LeakError(ValueError):
    """Training would read the test split. The message says which questions, and where they stand."""


def words_of(text: str) -> str:
    """A text as lower-case words and numbers between single spaces, with a space at both ends."""
    words = re.findall(r"[^\W_]+", text.lower())
    return f" {' '.join(words)} "


def text_of(chain: Chain) -> str:
    """Everything a chain says, one part a line."""
    parts = [chain.vignette]
    for question in chain.questions:
        parts += [question.stem, *(p.text for p in question.propositions)]
    return "\n".join(parts)


def leaked(test: Sequence[Chain], texts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(question or chain id, name of the text) for every test question that one of the named texts holds.

    A case leaks with any run of 12 words; a question with its stem and more than half of its propositions, word for
    word. A stem alone may be anyone's ("Which are true?"), and a true proposition may be a textbook's sentence.
    """
    runs: dict[str, str] = {}
    for chain in test:
        words = words_of(chain.vignette).split()
        runs.update({" ".join(words[i : i + RUN_WORDS]): chain.chain_id for i in range(len(words) - RUN_WORDS + 1)})
    asked = [
        (question.question_id, words_of(question.stem), [words_of(p.text) for p in question.propositions])
        for chain in test
        for question in chain.questions
    ]
    found = []
    for name, text in texts:
        said = words_of(text)
        words = said.split()
        cases = {runs.get(" ".join(words[i : i + RUN_WORDS])) for i in range(len(words) - RUN_WORDS + 1)} - {None}
        found += [(case, name) for case in sorted(filter(None, cases))]
        for question, stem, propositions in asked:
            if stem in said and 2 * sum(p in said for p in propositions) > len(propositions):
                found.append((question, name))
    return found


def refuse_leaks(test: Sequence[Chain], texts: Iterable[tuple[str, str]]) -> None:
    """Raise LeakError where training texts, each with a name, hold a question of the test split."""
    if found := leaked(test, texts):
        shown = "; ".join(f"{question} in {name}" for question, name in found[:5])
        raise LeakError(
            f"{len(found)} times the test split stands in what the student would be trained on: {shown}. "
            f"Take these out of the textbook or the questions, or give those chains another split"
        )
