"""Markdown, EPUB and DOCX, each turned into HTML."""

import posixpath
import re
import urllib.parse
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from mqg_utils.corpus.html import parse_html, root_of, walk
from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.corpus.xml import parse_xml
from mqg_utils.text.files import FileError, open_archive, read_member, read_text

SKIPPED_STYLES = "\n".join(
    f"p[style-name^='{name}'] => !" for name in ("Title", "Subtitle", "toc", "TOC", "index", "Index")
)


def read_markdown(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Markdown file (CommonMark with tables; HTML inside it is read as such). Raises FileError."""
    text = read_text(file)
    front = re.match(r"---\n.*?\n(?:---|\.\.\.)\n", text, re.DOTALL)
    title = re.search(r"^title:(.*)$", front[0], re.MULTILINE) if front else None
    if front:
        text = re.sub(r"\S", " ", front[0]) + text[front.end() :]  # the lines keep their numbers
    text = re.sub(r"\{:[^{}\n]*\}", "", text)  # kramdown's attributes
    # kramdown needs no blank line after an HTML block's opening tag
    opening = r"^(<(?:div|section)\b[^>\n]*>)[ \t]*\n(?=[^<\s]|<(?!div|section|table|p\b))"
    text = re.sub(opening, r"\1\n\n", text, flags=re.MULTILINE)
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type == "heading_open" and token.map:
            token.attrSet("data-line", str(token.map[0] + 1))
    outline = Outline(book, language, file.stem, f"{file.name}, line 1")
    if title and not any(token.type == "heading_open" and token.tag == "h1" for token in tokens):
        outline.heading(1, re.sub(r"^[\"']|[\"']$", "", title[1].strip()), f"{file.name}, line 1")
    page = parser.renderer.render(tokens, parser.options, {})
    walk(root_of(f"<body>{page}</body>", file), outline, file.name)
    return outline.sections()


def read_docx(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Word file, by its heading styles. Raises FileError."""
    import mammoth

    open_archive(file).close()  # its sizes are checked before mammoth unpacks it
    no_images = mammoth.images.img_element(lambda image: {})
    try:
        with file.open("rb") as opened:
            options = {"style_map": SKIPPED_STYLES, "include_embedded_style_map": False, "convert_image": no_images}
            page = mammoth.convert_to_html(opened, **options).value
    except Exception as error:  # whatever the libraries below it stumble over
        raise FileError(f"{file}: not readable as a Word file ({error}); save it again as .docx") from error
    root = root_of(f"<body>{page}</body>", file)
    for note in root.xpath("//sup[a[contains(@id, 'note-ref-')]] | //ol[li[contains(@id, 'note-')]]"):
        note.drop_tree()
    outline = Outline(book, language, file.stem, file.name)
    walk(root, outline, file.name)
    return outline.sections()


def read_epub(file: Path, book: str, language: str) -> list[Section]:
    """The sections of an EPUB in the order of its spine; nothing is unpacked to disk. Raises FileError."""
    with open_archive(file) as archive:

        def parsed(name: str) -> Any:
            return parse_xml(read_member(archive, name), f"{file}: {name}")

        package = next((e.get("full-path", "") for e in parsed("META-INF/container.xml").iter("{*}rootfile")), "")
        root = parsed(package)
        language = next((e.text.strip() for e in root.iter("{*}language") if e.text), "") or language
        items = {item.get("id"): item for item in root.iter("{*}item")}
        spine = [items.get(ref.get("idref")) for ref in root.iter("{*}itemref") if ref.get("linear") != "no"]
        pages = [e for e in spine if e is not None and e.get("media-type") in ("application/xhtml+xml", "text/html")]
        locked: set[str] = set()
        if "META-INF/encryption.xml" in archive.namelist():
            ciphers = parsed("META-INF/encryption.xml").iter("{*}CipherReference")
            locked = {urllib.parse.unquote(e.get("URI", "")) for e in ciphers}
        outline = Outline(book, language, file.stem, file.name)
        for href in dict.fromkeys(page.get("href", "") for page in pages):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), urllib.parse.unquote(href)))
            if name in locked:
                raise FileError(f"{file}: is copy-protected; remove the protection, or get another edition")
            page = parse_html(read_member(archive, name), f"{file}: {name}")
            walk(page, outline, f"{file.name}, {posixpath.basename(name)}")
    return outline.sections()
