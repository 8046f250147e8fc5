"""A CrewAI application as a deployment sees it: one importable file with ``run(inputs)``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crewlab.errors import ToldValueError


@dataclass(frozen=True)
class App:
    """A module with ``run(inputs: dict) -> str``.

    Attributes:
        name: the module's name, as a server or a worker would import it.
        path: the file, called ``<name>.py``.
    """

    name: str
    path: Path

    @property
    def source(self) -> str:
        """The file's text."""
        return self.path.read_text(encoding="utf-8")

    @classmethod
    def from_file(cls, path: str | Path) -> App:
        """Name an app after its file.

        Args:
            path: a ``.py`` file whose stem is a valid module name.

        Returns:
            The app, with an absolute path.

        Raises:
            ValueError: the file does not exist, or its name cannot be imported.
        """
        file = Path(path).resolve()
        if not file.is_file():
            raise ToldValueError(f"There is no app file {file.name!r} in {file.parent}.")
        if file.suffix != ".py" or not file.stem.isidentifier():
            raise ToldValueError(
                f"{file.name!r} cannot be imported: name it like a Python module, e.g. my_app.py."
            )
        return cls(file.stem, file)
