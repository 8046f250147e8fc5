"""The apps of the chapters, as files."""

from __future__ import annotations

from pathlib import Path

from crewlab import App
from crewlab.building import Project
from crewlab.building.chapter import read_chapter


class ChapterApps:
    """Writes the apps of one chapter into a folder, whole or changed."""

    def __init__(self, number: str, folder: Path) -> None:
        [path] = Project.find().select([number])
        self._cells = [cell for cell in read_chapter(path).cells if cell.app_name]
        self._folder = folder

    @property
    def exercise(self) -> str:
        """The name of the app that the learner is to repair."""
        [name] = [cell.app_name for cell in self._cells if "exercise" in cell.tags]
        return name

    def source(self, name: str, tag: str | None = None) -> str:
        """Give the text of the one app of that name (and cell tag)."""
        [cell] = [
            cell
            for cell in self._cells
            if cell.app_name == name and (tag is None or tag in cell.tags)
        ]
        return cell.app_source

    def app(self, name: str, tag: str | None = None) -> App:
        """Save the app as the chapter has it."""
        return self.save(name, self.source(name, tag))

    def changed(self, name: str, tag: str, *replacements: tuple[str, str]) -> App:
        """Save it with texts replaced, each of which must be there."""
        source = self.source(name, tag)
        for old, new in replacements:
            assert old in source, f"{old!r} is not in {name}"
            source = source.replace(old, new)
        return self.save(name, source)

    def save(self, name: str, source: str) -> App:
        """Save any text under an app's name, in a folder of its own."""
        folder = self._folder / f"{name}-{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        path = folder / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        return App.from_file(path)
