"""Numbers and units, limits, and what a text bears out."""

import math

import pytest

from mqg_utils.text.quantities import Limits, limits, quantities, same, unquoted, unsupported


def pairs(text: str) -> list[tuple[float, str]]:
    return [(q.value, q.unit) for q in quantities(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("25 mg, 2,5 mg and 1,000 mL", [(25, "mg"), (2.5, "mg"), (1000, "mL")]),
        ("14 to 22.5 mg/dL", [(14, "mg/dL"), (22.5, "mg/dL")]),  # the unit is said once
        ("10-30 minutes, 8 mg/kg every 8 hours", [(10, "min"), (30, "min"), (8, "mg/kg"), (8, "h")]),
        ("a 29-year-old with 39.1 degrees", [(29, "y"), (39.1, "°")]),
        ("90 per cent, 90 %, 90%", [(90, "%")] * 3),
        ("vitamin B12, CD4, version 1.2.3", []),
        ("1,000,000 cells, 1 000 mg, 1\u202f000 mg", [(1e6, ""), (1000, "mg"), (1000, "mg")]),
        (
            "7·35, 1½ and ¼ tablets, 150 × 10⁹/L, 10^-3 mol",
            [(7.35, ""), (1.5, ""), (0.25, ""), (1.5e11, ""), (1e-3, "mol")],
        ),
        ("5 mg/kg/day, −5 °C and 38.5 °F", [(5, "mg/kg/d"), (-5, "°"), (38.5, "°F")]),
        ("150 to 400 × 10⁹/L and 3 or 4 million", [(1.5e11, ""), (4e11, ""), (3e6, ""), (4e6, "")]),
        ("12 patients in 3 wards", [(12, ""), (3, "")]),
        ("pendant 3 semaines, 40 ans, 5 %", [(3, "week"), (40, "y"), (5, "%")]),
        ("29歳の男性、5日間、体温38度", [(29, "y"), (5, "d"), (38, "°")]),
        ("100 micrograms, 120 micromol, 3 milligrams", [(100, "µg"), (120, "µmol"), (3, "mg")]),
        ("5 g and 5 girls", [(5, "g"), (5, "")]),
    ],
)
def test_quantities(text: str, found: list[tuple[float, str]]) -> None:
    assert pairs(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("more than 20 seconds", [Limits(20, math.inf, "s")]),
        ("38.5 degrees or more", [Limits(38.5, math.inf, "°")]),
        ("between 10 and 20 seconds", [Limits(10, 20, "s")]),
        ("moins de 5 mg", [Limits(-math.inf, 5, "mg")]),
        ("It is 5 mg.", []),
    ],
)
def test_limits(text: str, found: list[Limits]) -> None:
    assert list(limits(text)) == found


@pytest.mark.parametrize(
    ("text", "source", "missing"),
    [
        ("after 7 days", "after 1 week", 0),
        ("0.5 g", "500 mg", 0),
        ("5 mg", "5 g", 1),
        ("5 mg", "50 mg", 1),
        ("5 mg", "five", 0),
        ("15 seconds", "between 10 and 20 seconds", 0),
        ("25 seconds", "between 10 and 20 seconds", 1),
        ("12 months", "1 year", 0),
        ("101.3 °F", "38.5 °C", 0),
        ("38.5 °F", "38.5 °C", 1),
        ("5 mg/kg/h", "5 mg/kg/day", 1),
        ("150 × 109/L", "150 × 10⁹/L", 2),
        ("200,000,000", "200 million", 0),
        ("8.5 × 10^4", "85,000", 0),
        ("the 7th week", "the seventh week", 0),
        ("19.5 L/min", "19.5 liters per minute", 0),
        ("19.5 liters per minute", "19.5 L/min", 0),
        ("90 mL per minute", "90 mL of blood per minute", 0),
        ("90 mL/min", "90 mL of blood each minute", 0),
        ("5 mg", "5 mg per day", 0),
        ("5 mg", "5 mg/kg", 1),
        ("4 L", "4000 milliliters", 0),
        ("90 s", "1.5 minutes", 0),
        ("37,0 °C", "36,5 bis 37,4 °C", 0),
        ("30 million", "3 million", 1),
        ("5 × 10^-13 mol", "6 × 10^-13 mol", 1),
    ],
)
def test_unsupported(text: str, source: str, missing: int) -> None:
    assert len(unsupported(text, [source])) == missing


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("It lasts 5 days.", []),
        ("It lasts 6 days.", [6.0]),  # the passage has 6 days elsewhere, but the quote speaks of 5
        ("A man of 70 kg is treated.", []),  # nothing is said of weights
        ("He takes 6 mg.", []),  # the question says so
    ],
)
def test_the_quote_is_asked_first(text: str, missing: list[float]) -> None:
    found = unquoted(text, "it lasts 5 days", "It lasts 5 days. Give 2 mg. Wait 6 days.", "He takes 6 mg of it.")
    assert [q.value for q in found] == missing


@pytest.mark.parametrize(
    ("text", "stated", "found"),
    [
        ("A width of 26 mm makes it mild.", "The width is 26 mm.", []),
        ("A width of 260 mm makes it mild.", "The width is 26 mm.", [260]),
        ("A width of 28 mm would make it mild.", "The width is 26 mm.", []),  # a supposition
        ("A width of 28 mm makes it mild.", "A man of 40 years.", []),  # the question gives no width
    ],
)
def test_a_value_that_limits_are_applied_to_is_the_patients(text: str, stated: str, found: list[float]) -> None:
    quote = "A width above 20 mm is mild."
    assert [q.value for q in unquoted(text, quote, quote, stated)] == found


def test_one_quantity_in_two_units() -> None:
    week, days, bare, dose = (quantities(text)[0] for text in ("1 week", "7 days", "7", "7 mg"))
    assert same(week, days) and same(days, bare) and not same(week, bare) and not same(days, dose)
