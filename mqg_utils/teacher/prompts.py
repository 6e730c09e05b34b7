"""Every word that is said to a model, in English and French, and the shape its answer must have."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mqg_utils.records import Chain, Passage
from mqg_utils.teacher.cache import Request
from mqg_utils.text.words import words

PROPOSITIONS = 5  # of every question that is asked for


class Wording(NamedTuple):
    """The prompts in one language."""

    system: str
    independent: str
    progressive: str
    style: str
    examples: str
    asked: str
    passage: str
    reader: str
    critic: str
    rewriter: str
    draft: str
    remarks: str


ANSWER = """{"chains": [{"vignette": "", "questions": [{"stem": "", "kind": "multiple", "propositions":
[{"text": "", "is_true": true, "explanation": "", "quote": ""}]}]}]}"""
PARTS = ("case", "stems", "true propositions", "false propositions", "explanations", "quotes", "difficulty")
MARKS = """{"remarks": [{"part": "case", "mark": 5, "remark": ""}, {"part": "stems", "mark": 2, "remark": "..."}]}"""
READING = '{"answers": [true, false, true, false, false]}'

ENGLISH = Wording(
    system="""\
You write questions for a medical residency exam from a textbook passage. Every question has exactly five different
propositions, of which one to four are true. Every proposition can be judged from the passage alone, and carries a
one-sentence explanation and a quote: at least three words of the passage, copied exactly, that settle it. False
propositions are plausible. Numbers and units are those of the passage, except where they are what makes a proposition
false. No stem gives away the answer to a later question, and nothing contradicts the case. `kind` is "single" where
exactly one proposition is true and the stem asks for the one, else "multiple".
Answer with JSON only: """
    + ANSWER,
    independent="Write {n} independent questions: a chain each, with an empty vignette and one question.",
    progressive="""\
Write one progressive case: a vignette of a patient with its findings so far, and {low} to {high} questions in order.
Later stems bring new findings (an examination, a result, the course) that agree with what was said before.""",
    style="""\
The exam aimed at: {share:.0%} of its propositions are true; {kinds} of its questions; a case has {questions} questions;
a stem has about {stem} words, a proposition about {text}.""",
    examples="Examples of the exam's style, on other matters:",
    asked="These were asked on this passage already; ask about other statements of it:",
    passage="Passage ({section}):",
    reader="""\
You judge propositions by a passage. For each proposition say true or false, in order, by what the passage and the
question state and nothing else. Answer with JSON only, as many values as propositions: """
    + READING,
    critic="""\
You examine draft exam questions written from a textbook passage, before anyone sees them. Mark each part from 1 (has to
be written anew) to 5 (nothing to change), over all questions, and say in one sentence what to change:
- case: believable, with the findings that matter; nothing in it gives an answer away. 5 where there is none.
- stems: one clear task each, which can be understood before the propositions are read; new findings fit the case.
- true propositions: certain from the passage, with all the conditions it sets; not copied word for word.
- false propositions: each wrong for one reason that the passage states, and tempting to who has not read it; of the
  same length and style as the true ones, without "always" or "never" as a hint.
- explanations: say why, and agree with the key.
- quotes: copied exactly from the passage; each settles its own proposition without further text.
- difficulty: asks for understanding, not for recognising a phrase; no question answers another.
Answer with JSON only, every part once: """
    + MARKS,
    rewriter="""\
The draft below was marked down by an examiner. Rewrite it so that every remark is met, change nothing else, and keep
to all of the rules above. Answer with the whole JSON.""",
    draft="Draft:",
    remarks="Remarks:",
)
FRENCH = Wording(
    system="""\
Vous rédigez des questions pour un concours médical (ECN) à partir d'un passage de manuel. Chaque question a exactement
cinq propositions différentes, dont une à quatre sont vraies. Chaque proposition peut être jugée d'après le seul passage
et porte une explication d'une phrase et une citation (`quote`) : au moins trois mots du passage, copiés exactement, qui
la tranchent. Les propositions fausses sont plausibles. Nombres et unités sont ceux du passage, sauf là où ils rendent
une proposition fausse. Aucun énoncé ne livre la réponse d'une question ultérieure et rien ne contredit le cas. `kind`
vaut "single" si une seule proposition est vraie et que l'énoncé le demande, sinon "multiple".
Répondez uniquement en JSON : """
    + ANSWER,
    independent="Rédigez {n} questions isolées : une chaîne chacune, avec une vignette vide et une seule question.",
    progressive="""\
Rédigez un dossier progressif : une vignette avec un patient et ses premiers éléments, puis {low} à {high} questions
dans l'ordre. Les énoncés suivants apportent de nouveaux éléments (examen, résultat, évolution), en accord avec ce qui
précède.""",
    style="""\
Le concours visé : {share:.0%} de ses propositions sont vraies ; {kinds} de ses questions ; un dossier compte
{questions} questions ; un énoncé a environ {stem} mots, une proposition environ {text}.""",
    examples="Exemples du style du concours, sur d'autres sujets :",
    asked="Ces questions ont déjà été posées sur ce passage ; interrogez sur d'autres affirmations :",
    passage="Passage ({section}) :",
    reader="""\
Vous jugez des propositions d'après un passage. Pour chacune, dites vrai (true) ou faux (false), dans l'ordre, d'après
ce que disent le passage et la question, et rien d'autre. Répondez uniquement en JSON, une valeur par proposition : """
    + READING,
    critic="""\
Vous relisez des questions d'examen rédigées à partir d'un passage de manuel, avant que quiconque ne les voie. Notez
chaque partie (`part`) de 1 (à réécrire) à 5 (rien à changer), pour l'ensemble des questions, et dites en une phrase ce
qu'il faut changer :
- case (le cas) : crédible, avec les éléments utiles ; rien n'y livre une réponse. 5 s'il n'y en a pas.
- stems (énoncés) : une tâche claire, compréhensible avant de lire les propositions ; le nouveau s'accorde avec le cas.
- true propositions (propositions vraies) : certaines d'après le passage, avec toutes ses conditions ; non recopiées.
- false propositions (propositions fausses) : fausses pour une seule raison, que donne le passage, et tentantes ; de la
  même longueur et de même style que les vraies, sans « toujours » ni « jamais » qui les trahisse.
- explanations (explications) : disent pourquoi et s'accordent avec la correction.
- quotes (citations) : copiées exactement ; chacune tranche sa proposition à elle seule.
- difficulty (difficulté) : il faut comprendre et non reconnaître une phrase ; aucune question n'en résout une autre.
Répondez uniquement en JSON, chaque partie une fois : """
    + MARKS,
    rewriter="""\
Un relecteur a critiqué le brouillon ci-dessous. Réécrivez-le en tenant compte de chaque remarque, sans rien changer
d'autre et en respectant toutes les règles ci-dessus. Répondez avec le JSON entier.""",
    draft="Brouillon :",
    remarks="Remarques :",
)
WORDINGS = {"en": ENGLISH, "fr": FRENCH}
OTHER_LANGUAGE = "\nWrite vignettes, stems, propositions and explanations in this language: {}."

CHARACTERS = "A character of the passage's script counts as a word."


def _shape(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


_STRING = {"type": "string"}
_PROPOSITION = _shape(text=_STRING, is_true={"type": "boolean"}, explanation=_STRING, quote=_STRING)
_KIND = {"type": "string", "enum": ["multiple", "single"]}
_QUESTION = _shape(stem=_STRING, kind=_KIND, propositions={"type": "array", "items": _PROPOSITION})
_CHAIN = _shape(vignette=_STRING, questions={"type": "array", "items": _QUESTION})
_MARK = _shape(part={"type": "string", "enum": list(PARTS)}, mark={"type": "integer"}, remark=_STRING)
SCHEMAS = {
    "chains": _shape(chains={"type": "array", "items": _CHAIN}),
    "answers": _shape(answers={"type": "array", "items": {"type": "boolean"}}),
    "remarks": _shape(remarks={"type": "array", "items": _MARK}),
}


class Style(NamedTuple):
    """What an exam looks like: measured on its train split."""

    share_true: float
    kinds: dict[str, float]  # share of the questions of each kind
    questions: tuple[int, int]  # least and most of a progressive chain
    share_progressive: float  # of the questions
    stem_words: float  # a Chinese or Japanese character is a word
    proposition_words: float
    n: int  # chains it was measured on; 0: these are the defaults


DEFAULT_STYLE = Style(0.5, {"multiple": 1.0}, (3, 6), 0.5, 15, 12, 0)


def measure_style(chains: Sequence[Chain]) -> Style:
    """The distribution of an exam's train split; DEFAULT_STYLE where there is none."""
    if not chains:
        return DEFAULT_STYLE
    asked = [q for chain in chains for q in chain.questions]
    said = [p for q in asked for p in q.propositions]
    kinds = Counter(q.kind for q in asked)
    lengths = sorted(len(c.questions) for c in chains if c.is_progressive) or [3, 6]
    low, high = max(3, lengths[0]), min(6, lengths[-1])
    return Style(
        sum(p.is_true for p in said) / len(said),
        {kind: count / len(asked) for kind, count in kinds.most_common()},
        (min(low, high), max(low, high)),
        sum(len(c.questions) for c in chains if c.is_progressive) / len(asked),
        sum(len(words(q.stem)) for q in asked) / len(asked),
        sum(len(words(p.text)) for p in said) / len(said),
        len(chains),
    )


def requests_for(
    passages: Iterable[Passage],
    examples: Sequence[Chain] = (),
    style: Style = DEFAULT_STYLE,
    asked: Mapping[str, Sequence[str]] | None = None,
    questions: int = 4,
    turn: int = 1,
) -> list[Request]:
    """One request a passage, in its language: for a progressive case or for independent questions.

    Which of the two goes by the passage's place among `passages`, so that both come in the exam's proportion: shards
    are made of the requests, not of the passages. `examples` (from the exam's train split only) show the style;
    `asked` says for each passage what was asked before, in the turns before this one.
    """
    found, owed = [], (turn - 1) * style.share_progressive % 1  # a further turn asks a passage for the other sort
    low, high = style.questions
    systems: dict[str, str] = {}
    for passage in passages:
        wording = WORDINGS.get(passage.language, ENGLISH)
        if passage.language not in systems:
            systems[passage.language] = _system(passage.language, style, examples)
        before = (asked or {}).get(passage.passage_id, ())
        owed += style.share_progressive
        wanted = wording.progressive.format(low=low, high=high)
        if owed < 1:
            wanted = wording.independent.format(n=questions)
        owed %= 1
        parts = [wording.passage.format(section=" > ".join(passage.section)), passage.text, wanted]
        parts += ["\n".join([wording.asked, *(f"- {text}" for text in before)])] * bool(before)
        user = "\n\n".join(parts)
        messages = ({"role": "system", "content": systems[passage.language]}, {"role": "user", "content": user})
        found.append(Request(passage=passage, messages=messages, round=turn))
    return found


def _system(language: str, style: Style, examples: Sequence[Chain]) -> str:
    """Rules, measured style and examples, as they stand before every passage in a language."""
    wording = WORDINGS.get(language, ENGLISH)
    kinds = ", ".join(f"{share:.0%} {kind}" for kind, share in style.kinds.items())
    low, high = style.questions
    measured = wording.style.format(
        share=style.share_true, kinds=kinds, questions=f"{low}-{high}" if low < high else f"{low}",
        stem=round(style.stem_words), text=round(style.proposition_words),
    )  # fmt: skip
    shown = "\n".join(json.dumps(_as_example(chain), ensure_ascii=False) for chain in examples)
    lines = [wording.system, measured] + [f"{wording.examples}\n{shown}"] * bool(shown)
    lines += [CHARACTERS] * (language[:2] in ("ja", "zh"))
    return "\n".join(lines) + _in_language(language)


def _in_language(language: str) -> str:
    return OTHER_LANGUAGE.format(language) if language and language not in WORDINGS else ""


def _as_example(chain: Chain) -> dict[str, Any]:
    questions = [
        {
            "stem": q.stem,
            "kind": q.kind,
            "propositions": [{"text": p.text, "is_true": p.is_true} for p in q.propositions],
        }
        for q in chain.questions
    ]
    return {"vignette": chain.vignette, "questions": questions}


def reading_request(passage: Passage, chain: Chain, position: int, with_passage: bool = True, vote: int = 1) -> Request:
    """The round trip: a question of a chain to be answered with its passage in view, or closed book without it.

    Answers to the earlier questions are not shown. A further `vote` is the same request under another key.
    """
    wording = WORDINGS.get(chain.language or passage.language, ENGLISH)
    stems = [chain.vignette, *(q.stem for q in chain.questions[: position + 1])]
    listed = [f"{i}. {p.text}" for i, p in enumerate(chain.questions[position].propositions, 1)]
    source = [wording.passage.format(section=" > ".join(passage.section)), passage.text] if with_passage else []
    user = "\n\n".join([*source, *filter(None, stems), "\n".join(listed)]) + f"\n\n({vote})" * (vote > 1)
    messages = ({"role": "system", "content": wording.reader}, {"role": "user", "content": user})
    return Request(passage=passage, messages=messages, wants="answers")


def critic_request(passage: Passage, draft: str) -> Request:
    """A draft's JSON to be marked, part by part, with its passage in view."""
    wording = WORDINGS.get(passage.language, ENGLISH)
    return Request(passage=passage, messages=_on_draft(passage, wording.critic, draft), wants="remarks")


def rewriter_request(passage: Passage, draft: str, remarks: Sequence[str]) -> Request:
    """A draft's JSON to be rewritten after a critic's remarks, under the rules it was written by."""
    wording = WORDINGS.get(passage.language, ENGLISH)
    listed = "\n".join([wording.remarks, *(f"- {remark}" for remark in remarks)])
    system = f"{wording.system}{_in_language(passage.language)}\n\n{wording.rewriter}"
    return Request(passage=passage, messages=_on_draft(passage, system, draft, listed))


def _on_draft(passage: Passage, system: str, draft: str, *more: str) -> tuple[dict[str, str], ...]:
    wording = WORDINGS.get(passage.language, ENGLISH)
    head = wording.passage.format(section=" > ".join(passage.section))
    user = "\n\n".join([f"{head}\n\n{passage.text}", f"{wording.draft}\n{draft}", *more])
    return ({"role": "system", "content": system}, {"role": "user", "content": user})
