"""Words that exclude one another (higher, lower), in English and French, and the stems they are compared by."""

from functools import lru_cache

from mqg_utils.text.quantities import quantities
from mqg_utils.text.words import NEGATIONS, STOP, words

# one line a matter: what stands on one side of the colon excludes what stands on the other
LISTED = """
above over exceed : below under
higher high : lower low
more : less fewer
greater larger bigger longer large long : smaller shorter small short
wide : narrow
rise raise increase gain grow : fall drop lowers lowered decrease reduce lose shrink sink
left : right
upper : lower
before : after during
earlier early : later late
first : last
always : never rarely seldom sometimes
often usually common mostly : rarely rare seldom never
open widen : closed shut
start begin : stop end
continue : stop
alkaline : acid acidic
safe allowed permitted suitable : contraindicated forbidden prohibited dangerous
positive : negative
normal : abnormal low high
inside inner : outside outer
front anterior : back behind posterior
day : night
morning : evening
warm hot : cold
hard firm : soft
thick : thin
fast quick : slow
maximum highest most : minimum lowest least
mild : moderate severe
moderate : severe
acute : chronic
strong : weak
same : opposite
convex : concave
toward : away
present presence : absent absence
deep : shallow
full : empty
stimulate activate promote favour : inhibit block prevent hinder
tighten contract : relax loosen
expand dilate : constrict
once : twice
daily : weekly monthly yearly
weekly : monthly yearly
monthly : yearly
man male boy men : woman female girl women
benign : malignant
painless : painful
stand upright : lying lie
medial : lateral
proximal : distal
afferent : efferent
superior : inferior
artery arterial : vein venous
systolic : diastolic
constant : wave intermittent
spare : affect
primary : secondary
intravenous vein : mouth oral tongue swallow
fed meal food : fasting empty
mouth oral swallow : tongue muscle
all : three two half some one
both : one single
improve : worsen
possible : impossible
fill : empty
enter : leave
remain : vanish fade
supérieur : inférieur
haut élevé : bas
augmenter augmente monter monte élève : diminuer diminue baisse abaisse réduit
gauche : droit droite
avant : après pendant
toujours : jamais rarement parfois
souvent fréquent : rare rarement
ouvert ouvre : fermé ferme
début commence : fin arrête
autorisé permis : interdit
positif positive : négatif négative
interne : externe
antérieur : postérieur
matin : soir
chaud chaude : froid froide
maximum maximal : minimum minimal
léger légère : modéré modérée sévère grave
aigu aiguë : chronique
même : opposé
homme : femme
bénin bénigne : malin maligne
intraveineuse : orale bouche
artère : veine
"""
ENDINGS = ("ically", "ation", "ment", "ing", "ied", "ies", "ness", "ally", "ly", "ers", "ed", "es", "er", "s")


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A word without its ending, roughly: "raised", "raises" and "raise" are one."""
    word = word.translate(str.maketrans("éèêîôûç", "eeeiouc"))
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= (4 if len(ending) > 3 else 3):
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "eyi" else word


@lru_cache(maxsize=50_000)
def stems(text: str) -> tuple[str, ...]:
    """The stems of the words that carry meaning; numbers, their units and negations are left out."""
    for q in reversed(quantities(text)):
        text = f"{text[: q.start]} {text[q.end :]}"
    said = (w for w in words(text) if w not in STOP and w not in NEGATIONS and not w[0].isdigit())
    return tuple(stem(word) for word in said)


def _opposites() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in LISTED.strip().splitlines():
        left, right = (side.split() for side in line.split(":"))
        for a in map(stem, left):
            for b in map(stem, right):
                found.setdefault(a, set()).add(b)
                found.setdefault(b, set()).add(a)
    return {word: frozenset(others - {word}) for word, others in found.items()}


OPPOSITES = _opposites()


def opposed(said: frozenset[str], there: frozenset[str]) -> frozenset[tuple[str, str]]:
    """Pairs of a stem that only the first text has and its opposite that only the second has."""
    only = there - said
    return frozenset((word, other) for word in said - there for other in OPPOSITES.get(word, frozenset()) & only)
