"""Markdown, EPUB and DOCX, each turned into HTML."""

import io
import posixpath
import re
import urllib.parse
import zipfile
from html import escape
from pathlib import Path
from typing import Any

from lxml import etree
from markdown_it import MarkdownIt

from mqg_utils.corpus.equations import linear
from mqg_utils.corpus.html import parse_html, root_of, walk
from mqg_utils.corpus.sections import Outline
from mqg_utils.corpus.xml import parse_xml
from mqg_utils.text.files import FileError, open_archive, read_member, read_text

SKIPPED_STYLES = [f"p[style-name^='{name}'] => !" for name in ("Title", "Subtitle", "toc", "TOC", "index", "Index")]
RAISED_STYLES = "//*[local-name()='style'][.//*[local-name()='vertAlign']/@*='superscript']/@*[local-name()='styleId']"
FRONT = re.compile(r"\A(---|\+\+\+)\n.*?\n(?:\1|\.\.\.)\n", re.DOTALL)  # YAML or TOML
NOTE = re.compile(r"^\[\^([^\]\s]+)\]:.*(?:\n(?![ \t]*$|\[\^|#).+)*(?:\n+(?: {4}|\t).+)*", re.MULTILINE)  # a footnote
ATTRIBUTES = re.compile(r"\{(?::|[#.]\w)[^{}\n]*\}|^:{3,}.*$", re.MULTILINE)  # of kramdown and Pandoc; Pandoc's divs
RAISED = re.compile(r"\^([-–−+]?[\w.,]{1,12}[-–−+]?)\^")  # Pandoc's
LOWERED = re.compile(r"(?<=[^\W\d_])~([\w+–−-]{1,12})~")  # after a letter: 5~10 is a range


def read_markdown(file: Path, outline: Outline) -> None:
    """Add a Markdown file (CommonMark with tables; HTML inside it is read as such). Raises FileError."""
    text = read_text(file)
    front = FRONT.match(text)
    said = dict(re.findall(r"^(title|lang)\s*[:=]\s*[\"']?(.*?)[\"']?\s*$", front[0], re.M)) if front else {}
    notes = {note[1] for note in NOTE.finditer(text)}
    for pattern in (FRONT, NOTE):  # spaces instead, so that the lines keep their numbers
        text = pattern.sub(lambda found: re.sub(r"\S", " ", found[0]), text)
    text = re.sub(r"\[\^([^\]\s]+)\]", lambda mark: "" if mark[1] in notes else mark[0], text)
    text = ATTRIBUTES.sub("", text)
    # kramdown needs no blank line after an HTML block's opening tag
    opening = r"^(<(?:div|section)\b[^>\n]*>)[ \t]*\n(?=[^<\s]|<(?!div|section|table|p\b))"
    text = re.sub(opening, r"\1\n\n", text, flags=re.MULTILINE)
    tokens = (parser := MarkdownIt("commonmark", {"html": True}).enable("table")).parse(text)
    first = tokens[1].content if tokens and tokens[0].type == "heading_open" else ""
    for token in tokens:
        if token.type == "heading_open" and token.map:
            token.attrSet("data-place", f"{file.name}, line {token.map[0] + 1}")
        for child in token.children or ():
            if child.type == "text":
                raised = RAISED.sub(r"<sup>\1</sup>", escape(child.content, quote=False))
                child.type, child.content = "html_inline", LOWERED.sub(r"<sub>\1</sub>", raised)
    outline.language, outline.place = said.get("lang") or outline.language, f"{file.name}, line 1"
    if (title := said.get("title", "")) and title.casefold() != first.casefold():
        outline.heading(0, title)
    page = parser.renderer.render(tokens, parser.options, {})
    walk(root_of(f"<body>{page}</body>", file), outline)


def read_docx(file: Path, outline: Outline) -> None:
    """Add a Word file, by its heading styles. Raises FileError."""
    import mammoth

    options = {"include_embedded_style_map": False, "convert_image": mammoth.images.img_element(lambda image: {})}
    ready, rules = _for_mammoth(file)
    try:
        page = mammoth.convert_to_html(ready, style_map="\n".join(rules), **options).value
    except Exception as error:  # whatever the libraries below it stumble over
        raise FileError(f"{file}: not readable as a Word file ({error}); save it again as .docx") from error
    walk(root_of(f"<body>{page}</body>", file), outline)


def _for_mammoth(file: Path) -> tuple[io.BytesIO, list[str]]:
    """A Word file with what mammoth would drop in a form that it reads, and the rules for styles of raised text."""
    ready, rules = io.BytesIO(), SKIPPED_STYLES
    with open_archive(file) as old, zipfile.ZipFile(ready, "w") as new:
        for name in dict.fromkeys(n for n in old.namelist() if n.endswith((".xml", ".rels"))):  # no images
            content = read_member(old, name)
            if name == "word/styles.xml":
                names = parse_xml(content, f"{file}: {name}").xpath(RAISED_STYLES)
                rules = rules + [f"r.{style} => sup" for style in names if re.fullmatch(r"\w+", style)]
            if re.fullmatch(r"word/document\d*\.xml", name):
                content = etree.tostring(_prepared(parse_xml(content, f"{file}: {name}")))
            new.writestr(name, content)
    return ready, rules


def _prepared(document: Any) -> Any:
    """A Word document with its equations as text, its text boxes as VML's, and what only marks text unwrapped."""
    word = etree.QName(document).namespace
    etree.strip_elements(document, "{*}rt", "{*}footnoteReference", "{*}endnoteReference", with_tail=False)
    etree.strip_tags(document, "{*}oMathPara", "{*}fldSimple", "{*}dir", "{*}bdo", "{*}ruby", "{*}rubyBase")
    for equation in list(document.iter("{*}oMath")):
        run = etree.Element(f"{{{word}}}r")
        etree.SubElement(run, f"{{{word}}}t").text = linear(equation)
        equation.getparent().replace(equation, run)
    for drawing in list(document.iter("{*}AlternateContent", "{*}drawing")):
        shown = drawing if drawing.tag.endswith("drawing") else drawing[0]  # the same for older programs comes second
        if boxes := list(shown.iter("{*}txbxContent")):
            picture = etree.Element(f"{{{word}}}pict")
            picture.extend(boxes)
            drawing.getparent().replace(drawing, picture)
    return document


def read_epub(file: Path, outline: Outline) -> None:
    """Add an EPUB in the order of its spine; nothing is unpacked to disk. Raises FileError."""
    with open_archive(file) as archive:

        def parsed(name: str) -> Any:
            return parse_xml(read_member(archive, name), f"{file}: {name}")

        package = next((e.get("full-path", "") for e in parsed("META-INF/container.xml").iter("{*}rootfile")), "")
        root = parsed(package)
        stated = next((e.text.strip() for e in root.iter("{*}language") if e.text), "")
        outline.language = stated or outline.language
        items = {item.get("id"): item for item in root.iter("{*}item")}
        spine = [items.get(ref.get("idref")) for ref in root.iter("{*}itemref") if ref.get("linear") != "no"]
        pages = [e for e in spine if e is not None and e.get("media-type") in ("application/xhtml+xml", "text/html")]
        rights = {"META-INF/encryption.xml"} & set(archive.namelist())
        ciphers = [e.get("URI", "") for name in rights for e in parsed(name).iter("{*}CipherReference")]
        for href in dict.fromkeys(page.get("href", "") for page in pages):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), urllib.parse.unquote(href)))
            if name in map(urllib.parse.unquote, ciphers):
                raise FileError(f"{file}: is copy-protected; remove the protection, or get another edition")
            outline.place = f"{file.name}, {posixpath.basename(name)}"
            walk(parse_html(read_member(archive, name), f"{file}: {name}"), outline)
