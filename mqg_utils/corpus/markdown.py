"""Markdown -> sections."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from mqg_utils.corpus.html import root_of, walk
from mqg_utils.corpus.sections import MAX_PARAGRAPH, Outline, Section
from mqg_utils.text.files import FileError, decode, read_bytes


def read_markdown(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Markdown file (CommonMark with tables); HTML inside it is read as such."""
    text = decode(read_bytes(file), file)
    if (longest := max(map(len, text.split("\n")))) > MAX_PARAGRAPH:
        raise FileError(f"{file}: a line of {longest:,} characters is no book's text; break it up")
    front = re.match(r"---\n.*?\n(?:---|\.\.\.)\n", text, re.DOTALL)
    title = re.search(r"^title:(.*)$", front[0], re.MULTILINE) if front else None
    named = re.sub(r"^[\"']|[\"']$", "", title[1].strip()) if title else ""
    text = re.sub(r"\S", " ", front[0]) + text[front.end() :] if front else text  # the lines keep their numbers
    text = re.sub(r"\{:[^{}\n]*\}", "", text)  # kramdown's attributes
    # a heading of kramdown may stand directly under a paragraph; HTML blocks end at the tag, not at a blank line
    text = re.sub(r"(</(?:div|table|section|figure)>)[ \t]*\n(?=\S)", r"\1\n\n", text)
    text = re.sub(
        r"^(<(?:div|section)\b[^>\n]*>)[ \t]*\n(?=[^<\s]|<(?!div|section|table|p\b))",
        r"\1\n\n",
        text,
        flags=re.MULTILINE,
    )
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type == "heading_open" and token.map:
            token.attrSet("data-line", str(token.map[0] + 1))
    rendered = parser.renderer.render(tokens, parser.options, {})
    outline = Outline(book, language, file.stem, f"{file.name}, line 1")
    if named and not any(token.type == "heading_open" and token.tag == "h1" for token in tokens):
        outline.heading(1, named, f"{file.name}, line 1")
    if rendered.strip():
        walk(root_of(f"<body>{rendered}</body>", file), outline, file.name, file)
    return outline.sections()
