"""Where things lie: the package, the project's folder, and paths as parameters give them."""

import glob
import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
BUNDLED = "bundled:"  # prefix of a file that comes with the package


def project_root() -> Path:
    """The checkout's folder: the nearest one upward that contains `notebooks`, else the package's parent."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks" / "01_corpus.ipynb").exists():
            return folder
    return PACKAGE.parent


def locate(path: str) -> Path:
    """The file of a parameter: `bundled:NAME`, absolute, or relative to the working folder, else to the project."""
    if path.startswith(BUNDLED):
        return PACKAGE / "demo" / path.removeprefix(BUNDLED)
    given = Path(os.path.expanduser(path))  # noqa: PTH111 - leaves an unknown user alone
    return given.absolute() if given.is_absolute() or _exists(given) else project_root() / given


def matches(path: Path) -> list[Path]:
    """The path itself if it exists, else the files that it matches as a glob pattern, sorted."""
    if _exists(path):
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - the pattern may be absolute


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than the file system allows
        return False
