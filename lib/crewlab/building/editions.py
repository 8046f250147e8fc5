"""Make the two editions of a chapter, always with the same bytes for the same text."""

from __future__ import annotations

from typing import Any

from crewlab.building.chapter import Chapter
from crewlab.building.project import LEARNER_FOLDER, SOLVED_FOLDER, Stamp

# Cells with this tag are left out of the edition.
LEFT_OUT = {LEARNER_FOLDER: "solution", SOLVED_FOLDER: "exercise"}

# Every notebook names its kernel, or JupyterLab asks for one. The kernel itself would add
# its exact Python version to language_info: then each version built another file.
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def make_edition(chapter: Chapter, folder: str) -> Any:
    """Make an edition without outputs.

    Args:
        chapter: the chapter as read.
        folder: ``"notebooks"`` for the learner's edition, ``"solutions"`` for the solved one.

    Returns:
        An ``nbformat`` notebook.
    """
    import nbformat.v4 as v4

    cells = []
    for cell in chapter.cells:
        if LEFT_OUT[folder] in cell.tags:
            continue
        metadata = {"tags": list(cell.tags)} if cell.tags else {}
        make = v4.new_code_cell if cell.kind == "code" else v4.new_markdown_cell
        cells.append(make(cell.source, id=cell.id, metadata=metadata))
    notebook = v4.new_notebook(cells=cells)
    # The minor version decides which fields exist; a newer nbformat must not raise it.
    notebook.nbformat_minor = 5
    notebook.metadata = notebook_metadata(chapter)
    return notebook


def notebook_metadata(chapter: Chapter) -> Any:
    """Give the metadata both editions of a chapter carry."""
    from nbformat import from_dict

    return from_dict(
        {
            "crewlab": {
                "source": f"chapters/{chapter.path.name}",
                **Stamp.of(chapter.path).metadata,
            },
            "kernelspec": KERNEL,
            "language_info": LANGUAGE,
        }
    )


def to_text(notebook: Any) -> str:
    """Write a notebook as text: sorted keys, one space of indent, a line end at the end."""
    import nbformat

    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    return text.rstrip("\n") + "\n"


def without_outputs(notebook: Any) -> Any:
    """Copy a notebook without what running it left."""
    import copy

    bare = copy.deepcopy(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return bare
