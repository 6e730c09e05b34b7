"""Elements of HTML and XML: their names, where they stand, and the text inside them."""

import re
from collections.abc import Callable, Container, Iterator
from typing import Any


def tag_of(element: Any) -> str:
    """An element's name without its namespace; "" for a comment or an instruction."""
    # a page may hold names that are none, such as <p{x}>
    name = element.tag if isinstance(element.tag, str) else ""
    return (name.partition("}")[2] if name.startswith("{") else name).lower()


def is_inside(element: Any, tag: str) -> bool:
    """Whether an element stands in another of this name ("{*}name" for any namespace)."""
    return next(element.iterancestors(tag), None) is not None


def runs(element: Any, leave: Callable[[Any], bool], also: Container[Any] = ()) -> Iterator[str]:
    """The text inside an element in order, without the elements to `leave` and those of `also`.

    A power keeps its sign: 10^3.
    """
    before = element.text or ""
    yield before
    for child in element:
        tag = tag_of(child)
        if tag in ("newline", "br"):
            yield " "
        elif tag and not leave(child) and child not in also:
            inner = "".join(runs(child, leave, also))
            # 10<sup>3</sup> is not 103, nor 10<sup>-3</sup> a range from 10 to 3
            power = tag == "sup" and before[-1:].isdigit() and re.match(r"\s*[-–−+]?\d", inner)
            yield f"^{inner.strip()}" if power else inner
            before = inner or before
        before = child.tail or before
        yield child.tail or ""


def squeezed(text: str) -> str:
    """Text with single spaces, and none before a comma or stop."""
    return re.sub(r"\s+([,.;:])(?=\s|$)", r"\1", " ".join(text.split()))
