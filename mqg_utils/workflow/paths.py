"""Where things lie: the package, the project's folder, and paths as parameters give them."""

import glob
import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
BUNDLED = "bundled:"  # prefix of a file that comes with the package


def project_root() -> Path:
    """The checkout's folder: the nearest one upward that contains `notebooks`, else the package's parent."""
    folders = (Path.cwd(), *Path.cwd().parents)
    return next((folder for folder in folders if (folder / "notebooks/01_corpus.ipynb").exists()), PACKAGE.parent)


def locate(path: str) -> Path:
    """The file of a parameter: `bundled:NAME`, absolute, or relative to the working folder, else to the project."""
    if path.startswith(BUNDLED):
        return PACKAGE / "demo" / path.removeprefix(BUNDLED)
    given = Path(os.path.expanduser(path))  # noqa: PTH111 - leaves an unknown user alone
    return given.absolute() if given.is_absolute() or matches(given) else project_root() / given


def matches(path: Path) -> list[Path]:
    """The path itself if it exists, else the files that it matches as a glob pattern, sorted."""
    if os.path.exists(path):  # noqa: PTH110 - False for a name longer than the file system allows
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - the pattern may be absolute
