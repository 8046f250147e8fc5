"""Where the chapters and their two editions live."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crewlab.building.errors import BuildError

# Raised whenever the builder writes something else for the same chapter, so that
# the next `crewlab build` rewrites every edition.
BUILDER_VERSION = 1

LEARNER_FOLDER = "notebooks"
SOLVED_FOLDER = "solutions"

_CHAPTER_FILE = re.compile(r"^\d{2}_[a-z0-9_]+$")
_SHOWS_TEMPLATE = re.compile(rb"^(?:from|import) crewlab\.takehome\b", re.MULTILINE)


@dataclass(frozen=True)
class Project:
    """A folder with ``chapters/``, ``notebooks/`` and ``solutions/``.

    Attributes:
        root: the folder that holds the three.
    """

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """Find the course this package belongs to.

        Args:
            start: a folder to search from upwards. Without it: the folder this package
                was installed from, then the current one.

        Returns:
            The nearest folder upwards that has ``chapters/`` in it.

        Raises:
            BuildError: no such folder.
        """
        starts = [start] if start else [Path(__file__).resolve().parent, Path.cwd()]
        for place in starts:
            for folder in (place.resolve(), *place.resolve().parents):
                # The package has a folder of that name too, with modules in it.
                if any((folder / "chapters").glob("*.md")):
                    return cls(folder)
        raise BuildError(
            f"There is no folder chapters/ in {starts[-1]} or above it.\n"
            "Change to the course's folder and try again."
        )

    def chapters(self) -> list[Path]:
        """List the chapter files in reading order."""
        return sorted(
            path for path in (self.root / "chapters").glob("*.md") if _CHAPTER_FILE.match(path.stem)
        )

    def select(self, names: Sequence[str]) -> list[Path]:
        """Pick chapters the way an author names them.

        Args:
            names: ``01``, ``1``, ``01_shared_crew``, or a path to any file of the chapter;
                none at all means every chapter.

        Returns:
            The chapter files in reading order.

        Raises:
            BuildError: a name fits no chapter.
        """
        chapters = self.chapters()
        if not names:
            return chapters
        chosen = set()
        for name in names:
            stem = Path(name).stem
            matches = [
                path
                for path in chapters
                if stem == path.stem or (stem.isdigit() and int(stem) == int(path.stem[:2]))
            ]
            if not matches:
                raise BuildError(_no_such_chapter(name, stem, chapters))
            chosen.update(matches)
        return sorted(chosen)

    def notebook(self, chapter: Path, folder: str) -> Path:
        """Name the edition of a chapter in ``notebooks`` or ``solutions``."""
        return self.root / folder / f"{chapter.stem}.ipynb"

    def orphans(self) -> list[Path]:
        """List the notebooks that no chapter makes."""
        stems = {path.stem for path in self.chapters()}
        return sorted(
            path
            for folder in (LEARNER_FOLDER, SOLVED_FOLDER)
            for path in (self.root / folder).glob("*.ipynb")
            if path.stem not in stems
        )

    def shown(self, path: Path) -> str:
        """Write a path as an author would type it: relative, with forward slashes."""
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Stamp:
    """What an edition was built from; an edition with another stamp is stale.

    Attributes:
        source: digest of the chapter's text.
        builder: version of the builder.
        shown: digest of the files that the chapter shows, None if it shows none.
    """

    source: str
    builder: int
    shown: str | None = None

    @classmethod
    def of(cls, chapter: Path) -> Stamp:
        """Give the stamp that an edition of this chapter has if it is built now.

        Args:
            chapter: the Markdown file.
        """
        text = _without_carriage_returns(chapter)
        shown = _digest_of_template(chapter.parents[1]) if _SHOWS_TEMPLATE.search(text) else None
        return cls(hashlib.sha256(text).hexdigest(), BUILDER_VERSION, shown)

    @classmethod
    def recorded_in(cls, notebook: Path) -> Stamp | None:
        """Read from what a notebook was built, without loading any notebook library.

        Args:
            notebook: an edition's file.

        Returns:
            Its stamp; None when the file is missing, is not a notebook or does not say.
        """
        try:
            kept = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["crewlab"]
            return cls(str(kept["source_sha256"]), int(kept["builder"]), kept.get("shown_sha256"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def metadata(self) -> dict[str, str | int]:
        """The stamp as it is kept in a notebook."""
        shown = {} if self.shown is None else {"shown_sha256": self.shown}
        return {"builder": self.builder, "source_sha256": self.source, **shown}


def _digest_of_template(root: Path) -> str:
    """Digest what of the take-home service a chapter can show: its texts, code and settings."""
    digest = hashlib.sha256()
    names = sorted(path.relative_to(root).as_posix() for path in (root / "template").rglob("*.*"))
    for name in names:
        if name.endswith((".md", ".py", ".toml")) and "/." not in name:  # tools leave .folders
            digest.update(name.encode() + b"\0" + _without_carriage_returns(root / name) + b"\0")
    return digest.hexdigest()


def _without_carriage_returns(path: Path) -> bytes:
    """Read a text that is the same whatever line ends the checkout has."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step, so that no reader ever sees half of it.

    Args:
        path: the file; its folder is made if missing.
        text: the new content, written as UTF-8 with line feeds on every system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        # mkstemp makes the file private; a notebook is as readable as any other source.
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _no_such_chapter(name: str, stem: str, chapters: Sequence[Path]) -> str:
    stems = [path.stem for path in chapters]
    close = difflib.get_close_matches(stem, stems, n=3, cutoff=0.4)
    if close:
        advice = f"Did you mean {' or '.join(close)}?"
    elif stems:
        advice = f"There are: {', '.join(stems)}."
    else:
        advice = "There are no chapters yet: write one as chapters/NN_name.md."
    return f"No chapter is called {name!r}.\n{advice}"
