"""Markdown, EPUB and DOCX, each turned into HTML."""

import posixpath
import re
import urllib.parse
import zipfile
from pathlib import Path
from typing import Any

from lxml import etree
from markdown_it import MarkdownIt

from mqg_utils.corpus.html import parse_html, root_of, walk
from mqg_utils.corpus.sections import MAX_PARAGRAPH, Outline, Section
from mqg_utils.text.files import FileError, open_archive, read_member, read_text

WORD_STYLES = "\n".join(
    f"p[style-name^='{name}'] => !" for name in ("Title", "Subtitle", "toc", "TOC", "index", "Index")
) + "\np[style-name='Caption'] => p.caption:fresh\np[style-name='caption'] => p.caption:fresh"  # fmt: skip


def read_markdown(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Markdown file (CommonMark with tables; HTML inside it is read as such). Raises FileError."""
    text = read_text(file)
    if (longest := max(map(len, text.split("\n")))) > MAX_PARAGRAPH:
        raise FileError(f"{file}: line too long ({longest:,} characters, limit {MAX_PARAGRAPH:,}); split it")
    front = re.match(r"---\n.*?\n(?:---|\.\.\.)\n", text, re.DOTALL)
    title = re.search(r"^title:(.*)$", front[0], re.MULTILINE) if front else None
    if front:
        text = re.sub(r"\S", " ", front[0]) + text[front.end() :]  # the lines keep their numbers
    text = re.sub(r"\{:[^{}\n]*\}", "", text)  # kramdown's attributes
    # kramdown needs no blank line around an HTML block
    text = re.sub(r"(</(?:div|table|section|figure)>)[ \t]*\n(?=\S)", r"\1\n\n", text)
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
    walk(root_of(f"<body>{page}</body>", file), outline, file.name, file)
    return outline.sections()


def read_docx(file: Path, book: str, language: str) -> list[Section]:
    """The sections of a Word file, by its heading styles. Raises FileError."""
    import mammoth

    with open_archive(file) as archive:  # each part is checked before mammoth unpacks it
        for name in archive.namelist():
            if name.endswith(".xml"):
                read_member(archive, name)
    no_images = mammoth.images.img_element(lambda image: {})
    try:
        with file.open("rb") as opened:
            options = {"style_map": WORD_STYLES, "include_embedded_style_map": False, "convert_image": no_images}
            page = mammoth.convert_to_html(opened, **options).value
    except Exception as error:  # whatever the libraries below it stumble over
        raise FileError(f"{file}: not readable as a Word file ({error}); save it again as .docx") from error
    root = root_of(f"<body>{page}</body>", file)
    for note in root.xpath("//sup[a[contains(@id, 'note-ref-')]] | //ol[li[contains(@id, 'note-')]]"):
        note.drop_tree()
    for caption in root.xpath("//p[@class='caption']"):
        kind = "Table" if re.match(r"table|tableau|表", caption.text_content(), re.IGNORECASE) else "Figure"
        caption.text = f"{kind}: {caption.text or ''}"
    outline = Outline(book, language, file.stem, file.name)
    walk(root, outline, file.name, file)
    return outline.sections()


def read_epub(file: Path, book: str, language: str) -> list[Section]:
    """The sections of an EPUB in the order of its spine; nothing is unpacked to disk. Raises FileError."""
    with open_archive(file) as archive:
        container = _parsed(archive, "META-INF/container.xml")
        package = next((str(e.get("full-path")) for e in container.iter("{*}rootfile")), "")
        root = _parsed(archive, _inside("", package, file))
        language = next((e.text.strip() for e in root.iter("{*}language") if e.text), "") or language
        items = {item.get("id"): item for item in root.iter("{*}item")}
        outline = Outline(book, language, file.stem, file.name)
        locked, seen = _locked(archive), set[str]()
        for reference in root.iter("{*}itemref"):
            item = items.get(reference.get("idref"))
            if item is None or reference.get("linear") == "no" or "nav" in (item.get("properties") or "").split():
                continue
            name = _inside(package, item.get("href") or "", file)
            if item.get("media-type") not in ("application/xhtml+xml", "text/html") or name in seen:
                continue
            seen.add(name)
            if name in locked:
                raise FileError(f"{file}: is copy-protected; remove the protection, or get another edition")
            page = parse_html(read_member(archive, name), f"{file}: {name}")
            walk(page, outline, f"{file.name}, {posixpath.basename(name)}", f"{file}: {name}")
    return outline.sections()


def _parsed(archive: zipfile.ZipFile, name: str) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(read_member(archive, name), parser)
    except etree.XMLSyntaxError as error:
        raise FileError(f"{archive.filename}: {name} is not readable as XML: {error}; export it again") from error


def _inside(base: str, reference: str, file: Path) -> str:
    path = urllib.parse.unquote(reference.split("#")[0])
    name = posixpath.normpath(posixpath.join(posixpath.dirname(base), path))
    if name.startswith(("/", "..")) or "\\" in name or ":" in path:
        raise FileError(f"{file}: refers to {reference!r}, which is outside the book; refusing to open it")
    return name


def _locked(archive: zipfile.ZipFile) -> set[str]:
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    root = _parsed(archive, "META-INF/encryption.xml")
    return {urllib.parse.unquote(e.get("URI") or "") for e in root.iter("{*}CipherReference")}
