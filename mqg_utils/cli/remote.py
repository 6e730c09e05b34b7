"""A run in a bucket: its complete stages sent to a store such as s3:// or gs://, and fetched from there, by fsspec.

A stage's manifest is sent last and says the hash of every file, so a stage that was half sent is none.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mqg_utils.workflow.lock import Lock, LockHeld
from mqg_utils.workflow.manifest import MANIFEST, NOT_RESULTS, UNSEALED, digest, other_format, read_manifest

PAGES = ("notebook.ipynb", "notebook.html")  # of a stage, beside its results
OF_RUN = ("run.json", "index.html")

Tell = Callable[[str, str], None]  # (stage, what happened to it)


class RemoteError(RuntimeError):
    """A store that cannot be reached, or does not hold what a manifest says. The message says what to do."""


class _Store(NamedTuple):
    fs: Any
    root: str

    def at(self, *parts: str) -> str:
        return "/".join([self.root, *parts])

    def text(self, *parts: str) -> str:
        """What a file holds, "" where there is none or it is no text."""
        try:
            return self.fs.cat_file(self.at(*parts)).decode("utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return ""


@contextmanager
def _store(url: str, run: str) -> Iterator[_Store]:
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False) if "://" in url else (None, "")
    except (ImportError, ValueError) as error:
        extra = {"s3": " (pip install 'mqg-workbench[s3]')", "gs": " (pip install gcsfs)"}.get(url.split(":")[0], "")
        raise RemoteError(f"{url}: {error}{extra}") from error
    if fs is None:
        raise RemoteError(f"{url}: give a store's address, such as s3://bucket/folder")
    known: tuple[type[Exception], ...] = (OSError,)
    if "botocore" in sys.modules:
        from botocore.exceptions import BotoCoreError

        known = (OSError, BotoCoreError)
    try:
        yield _Store(fs, f"{root.rstrip('/')}/{run}")
    except known as error:
        raise RemoteError(
            f"{url}: {error or type(error).__name__}; check the address, the network and the keys"
        ) from error


def push(folder: Path, url: str, tell: Tell) -> None:
    """Send a run's complete stages to `url`/<its name>; those that are there already are not sent again.

    Raises RemoteError where there is nothing to send, a file is not what its stage wrote, or the store refuses.
    """
    stages = sorted(path.parent for path in folder.glob(f"0*/**/{MANIFEST}") if "checkpoints" not in path.parts)
    if not stages:
        raise RemoteError(f"{folder} has no complete stage to send; mqg runs lists runs")
    with _store(url, folder.name) as store:
        for stage in stages:
            name, said = stage.relative_to(folder).as_posix(), (stage / MANIFEST).read_text(encoding="utf-8")
            if store.text(name, MANIFEST) == said:
                tell(name, "is there already")
                continue
            outputs = json.loads(said)["outputs"]
            if odd := [file for file, sha in outputs.items() if digest(stage / file) != sha]:
                raise RemoteError(f"{name}/{odd[0]} is not what its stage wrote; run the stage again, then push")
            if store.fs.exists(store.at(name, MANIFEST)):
                store.fs.rm_file(store.at(name, MANIFEST))  # from here on the store has no such stage
            for file in (*outputs, *PAGES):
                if (stage / file).exists():
                    store.fs.put_file(str(stage / file), store.at(name, file))
            store.fs.put_file(str(stage / MANIFEST), store.at(name, MANIFEST))
            tell(name, f"sent, {len(outputs)} files")
        for file in OF_RUN:
            if (folder / file).exists():
                store.fs.put_file(str(folder / file), store.at(file))


def pull(folder: Path, url: str, tell: Tell) -> None:
    """Fetch the complete stages of `url`/<the run's name> into a run's folder; each appears whole or not at all.

    Raises RemoteError where there is none, a file is not what its manifest says, or another process is at the run.
    """
    with _store(url, folder.name) as store:
        found = [PurePosixPath(path) for path in store.fs.find(store.root)]
        stages = {path.parent for path in found if path.name == MANIFEST}
        if not stages:
            raise RemoteError(f"{url} holds no complete stage of a run {folder.name!r}")
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)
        try:
            lock.acquire()
        except LockHeld as error:
            raise RemoteError(f"run {folder.name!r}: {error}") from error
        try:
            for path in sorted(stages):
                _fetch(store, path.relative_to(store.root).as_posix(), folder, tell)
            for name in sorted({p.parent.relative_to(store.root).as_posix() for p in found if p.name == PAGES[0]}):
                if PurePosixPath(store.root) / name not in stages:
                    tell(name, "was sent in part only, and is left out")
            for file in OF_RUN:
                if not (folder / file).exists() and store.fs.exists(store.at(file)):
                    store.fs.get_file(store.at(file), str(folder / file))
        finally:
            lock.release()


def _fetch(store: _Store, name: str, folder: Path, tell: Tell) -> None:
    said, stage = store.text(name, MANIFEST), _inside(folder, name)
    try:
        manifest = json.loads(said)
        outputs: dict[str, str] = {str(file): str(sha) for file, sha in manifest["outputs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RemoteError(f"{name}/{MANIFEST} in the store is no manifest: {error!r}") from error
    if why := other_format(manifest):
        raise RemoteError(f"{name}: {why}; update the workbench")
    mine = read_manifest(stage)
    if mine == manifest and all(digest(stage / file) == sha for file, sha in outputs.items()):
        return tell(name, "is here already")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as half:
        for file in (*outputs, *PAGES):
            target = _inside(Path(half), file)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file in PAGES and not store.fs.exists(store.at(name, file)):
                continue
            store.fs.get_file(store.at(name, file), str(target))
            if file in outputs and digest(target) != outputs[file]:
                raise RemoteError(f"{name}/{file} in the store is not what its manifest says; push the stage again")
        for old in (MANIFEST, UNSEALED):  # from here on the folder is incomplete until its manifest is written
            (stage / old).unlink(missing_ok=True)
        for path in sorted(p for p in Path(half).rglob("*") if p.is_file()):
            target = stage / path.relative_to(half)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.move(path, target)
        (Path(half) / MANIFEST).write_text(said, encoding="utf-8")
        (Path(half) / MANIFEST).replace(stage / MANIFEST)
    return tell(name, f"fetched, {len(outputs)} files")


def _inside(folder: Path, name: str) -> Path:
    """A path of the store, in the folder. Raises RemoteError for one that leads out of it."""
    path = PurePosixPath(name)
    odd = path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name
    if odd or path.name in (NOT_RESULTS - set(PAGES)):
        raise RemoteError(f"the store names a file {name!r}, which does not belong in a stage; nothing of it was taken")
    return folder / path
