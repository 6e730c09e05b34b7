"""EPUB -> sections."""

import posixpath
import urllib.parse
from pathlib import Path
from typing import Any

from lxml import etree

from mqg_utils.corpus.html import parse_html, walk
from mqg_utils.corpus.sections import Outline, Section
from mqg_utils.text.files import FileError, open_archive, read_member


def read_epub(file: Path, book: str, language: str) -> list[Section]:
    """The sections of an EPUB in the order of its spine. Nothing is unpacked to disk; no name leaves the archive."""
    with open_archive(file) as archive:
        container = _xml(read_member(archive, "META-INF/container.xml"), file)
        package = next((str(e.get("full-path")) for e in container.iter("{*}rootfile")), "")
        root = _xml(read_member(archive, _inside("", package, file)), file)
        language = next((e.text.strip() for e in root.iter("{*}language") if e.text), "") or language
        items = {item.get("id"): item for item in root.iter("{*}item")}
        outline = Outline(book, language, file.stem, file.name)
        locked, seen = _locked(archive, file), set[str]()
        for reference in root.iter("{*}itemref"):
            item = items.get(reference.get("idref"))
            if item is None or reference.get("linear") == "no" or "nav" in (item.get("properties") or "").split():
                continue
            if item.get("media-type") not in ("application/xhtml+xml", "text/html"):
                continue
            name = _inside(package, item.get("href") or "", file)
            if name in seen:
                continue  # a spine names a page once
            seen.add(name)
            if name in locked:
                raise FileError(f"{file}: is copy-protected; remove the protection, or get another edition")
            place = f"{file.name}, {posixpath.basename(name)}"
            page = parse_html(read_member(archive, name), f"{file}: {name}")
            walk(page, outline, place, f"{file}: {name}")
    return outline.sections()


def _xml(raw: bytes, where: object) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise FileError(f"{where}: its table of files is not readable as XML: {error}; export it again") from error


def _inside(base: str, reference: str, file: Path) -> str:
    path = urllib.parse.unquote(reference.split("#")[0])
    name = posixpath.normpath(posixpath.join(posixpath.dirname(base), path))
    if name.startswith(("/", "..")) or "\\" in name or ":" in path:
        raise FileError(f"{file}: names {reference!r}, which is outside the book; not opened")
    return name


def _locked(archive: Any, file: Path) -> set[str]:
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    root = _xml(read_member(archive, "META-INF/encryption.xml"), file)
    return {urllib.parse.unquote(e.get("URI") or "") for e in root.iter("{*}CipherReference")}
