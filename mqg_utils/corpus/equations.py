"""Equations of MathML and of Word (OMML) as text in one line: a fraction as a/b, a power as a^b, a root as √a."""

import re
from pathlib import Path
from typing import Any

import yaml

READ = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
PLAIN = re.compile(r"[-–−+±]?[\w.,′″°%∞]*[-–−+]?|\([^()]*\)")
INVISIBLE = dict.fromkeys(range(0x2061, 0x2064))  # function application, times, separator


def tag_of(element: Any) -> str:
    """An element's name in lower case without its namespace; "" for a comment or an instruction."""
    name = element.tag if isinstance(element.tag, str) else ""  # a page may hold malformed names, such as <p{x}>
    return (name.partition("}")[2] if name.startswith("{") else name).lower()


def linear(element: Any) -> str:
    """An equation, or a part of one, as text."""
    tag = tag_of(element)
    if not tag or tag in READ["skipped"].split():
        return ""
    parts = [linear(child) for child in element if not tag_of(child).endswith("pr")]  # OMML's properties
    if tag == "d":  # delimiters
        return _said(element, "begChr", "(") + _said(element, "sepChr", "|").join(parts) + _said(element, "endChr", ")")
    if tag == "msqrt":
        parts = ["".join(parts)]
    if tag in READ["forms"]:
        bare = [part.strip(" \u2064") for part in parts] + [""] * 3
        grouped = [part if PLAIN.fullmatch(part) else f"({part})" for part in bare]
        text = READ["forms"][tag].format(*parts, "", "", "", g=grouped)
        text = re.sub(r"(?<=[^\W\d_])_(?=\d+(?:\^|$))", "", text)  # CO2
        # an empty power or index leaves no mark, a charge is read as elsewhere: Ca2+, but PO4^3−
        text = re.sub(r"[_^](?=[\s^]|$)|\^(?=[-–−+]$)|(?<!\d)\^(?=\d+[-–−+]$)", "", text)
        return (_said(element, "chr", "∫") if tag == "nary" else "") + text
    own = "" if len(element) else (element.text or "").translate(INVISIBLE)
    own = own if tag == "t" else own.strip(" \t\r\n")  # MathML sets its spaces apart
    text = own + READ["separators"].get(tag, "").join(parts)
    return f" {text} " if element.get("display") == "block" else text


def _said(element: Any, name: str, default: str) -> str:
    """A character that an element's properties name."""
    found = element.find(f"{{*}}{tag_of(element)}Pr/{{*}}{name}")
    return default if found is None else next(iter(found.attrib.values()), "")
