"""``crewlab build --check`` reads a chapter's code, parts, pictures and links like a reviewer."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewlab.building import format_code, review
from tests.courses import code, make_course

SETUP = code("%load_ext crewlab", "setup")


def findings(tmp_path: Path, *parts: str) -> list[str]:
    text = "# A title\n\n" + SETUP + "\n" + "\n".join(parts)
    return review(make_course(tmp_path / "course", _00_a=text))


def test_a_sound_chapter_has_no_findings(tmp_path: Path) -> None:
    app = "%%app broken\ndef run(inputs: dict) -> str:\n    return inputs['company']"
    sound = [
        code(app.replace("'", '"'), "broken"),
        code("import time\n\nresult = scale(broken, replicas=2)\nawait time.sleep(0)\nresult"),
        "A [link](https://example.org), a [place](#here) and ![a picture](data:image/png,).",
    ]
    assert findings(tmp_path, *sound) == []


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("x = scael(4)", "10: F821 Undefined name `scael`"),
        ("y = 1\nimport os", "11: F401 `os` imported but unused"),
        ("y = (1", "10: invalid-syntax"),
        ("x=1", "10: not formatted; run crewlab build --format"),
        ("%%app a\nimport sys\n\n\ndef run(inputs: dict) -> str:\n    return x", "11: F401 `sys`"),
        ("%%app a\ndef run(inputs: dict) -> str:\n    return x", "12: F821 Undefined name `x`"),
        ("%%app a\nfrom crewlab import App\n\nprint(App)", "11: an app must not import crewlab"),
        ("%%app a\nimport crewlab.app\n\nprint(crewlab)", "11: an app must not import crewlab"),
        ("fixed", "10: F821 Undefined name `fixed`"),
    ],
)
def test_code_is_held_to_the_rules_and_named_by_its_line_in_the_chapter(
    tmp_path: Path, source: str, finding: str
) -> None:
    assert any(
        found.startswith(f"chapters/00_a.md:{finding}")
        for found in findings(tmp_path, code(source))
    ), findings(tmp_path / "again", code(source))


def test_an_app_is_known_only_after_its_cell(tmp_path: Path) -> None:
    app = code(
        "%%app later\ndef run(inputs: dict) -> str:\n    return inputs['a']".replace("'", '"')
    )
    (finding,) = findings(tmp_path, code("later"), app)
    assert finding == "chapters/00_a.md:10: F821 Undefined name `later`"


def test_a_name_of_the_solution_is_unknown_to_the_exercise(tmp_path: Path) -> None:
    cells = [code("a = None", "exercise"), code("b = 1", "solution"), code("a, b")]
    found = findings(tmp_path, *cells)
    assert [line.partition(": ")[2] for line in found] == [
        "F821 Undefined name `a`",
        "F821 Undefined name `b`",
    ]


def test_formatting_rewrites_the_cells_in_the_markdown_and_nothing_else(tmp_path: Path) -> None:
    text = (
        "# A title\n\n" + SETUP + "\n- a   list\n\n" + code("x=1\nimport os") + "\n"
        "```python\nx=1\n```\n\n" + code("%%app a\nx=1\ndef run(inputs):\n  return ''", "broken")
    )
    project = make_course(tmp_path / "course", _00_a=text)

    changed = format_code(project)

    assert len(changed) == 2
    after = (project.root / "chapters" / "00_a.md").read_text(encoding="utf-8")
    wanted = text.replace("x=1\nimport os", "x = 1\nimport os").replace(
        "%%app a\nx=1\ndef run(inputs):\n  return ''",
        '%%app a\nx = 1\n\n\ndef run(inputs):\n    return ""',
    )
    assert after == wanted
    assert format_code(project) == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("![](a.png)", "the picture a.png has no alt text"),
        ("one\n\n![ ](data:image/png,)", "has no alt text"),
        ('<img src="data:,">', "a picture without alt text"),
        ('<img src="data:," alt="">', "a picture without alt text"),
        ("[chapter](07_none.ipynb)", "the link to 07_none.ipynb leads nowhere in notebooks/"),
        ("[chapter](../none.md#part)", "the link to ../none.md leads nowhere in solutions/"),
    ],
)
def test_pictures_need_alt_text_and_links_a_target(tmp_path: Path, text: str, finding: str) -> None:
    found = findings(tmp_path, text)
    line = 9 + text.count("\n")
    assert any(one.startswith(f"chapters/00_a.md:{line}: ") and finding in one for one in found)


def test_code_is_not_taken_for_pictures_and_links(tmp_path: Path) -> None:
    text = "`![](a.png)` and\n\n```markdown\n![](b.png) [x](none.md)\n```\n"
    assert findings(tmp_path, text) == []


def chapter_with(*tags: str, expect: bool = True) -> str:
    app = '%%app {}\ndef run(inputs: dict) -> str:\n    return inputs["company"]'
    bodies = {
        "setup": "%load_ext crewlab",
        "broken": app.format("broken"),
        "fixed": app.format("fixed"),
        "broken-run": "run = scale(broken)\n" + ('run.expect(error="x")' if expect else "run"),
    }
    cells = [code(bodies.get(tag, "print()"), tag) for tag in tags]
    return "# A title\n\n" + "\n".join(cells)


WHOLE = ("setup", "quiz", "broken", "control", "broken-run", "fixed", "fixed-run")
TASK = ("exercise", "solution", "check", "quiz")


def test_a_chapter_about_a_cause_has_every_part_in_order(tmp_path: Path) -> None:
    project = make_course(tmp_path / "course", _01_a=chapter_with(*WHOLE, *TASK))
    assert review(project) == []


@pytest.mark.parametrize(
    ("tags", "finding"),
    [
        (WHOLE[1:] + TASK, "the first code cell is not [setup]"),
        (WHOLE[:2] + WHOLE[3:] + TASK, "no [broken] cell from here on"),
        (WHOLE[:4] + WHOLE[5:] + TASK, "no [broken-run] cell from here on"),
        (("setup", "broken", "quiz", *WHOLE[3:], *TASK), "no [broken] cell from here on"),
        ((*WHOLE, *TASK[:3]), "no [quiz] cell from here on"),
        (
            (*WHOLE, "exercise", "check", "quiz"),
            "no [solution] cell from here on, in the solutions",
        ),
        (
            (*WHOLE, "solution", "check", "quiz"),
            "no [exercise] cell from here on, in the notebooks",
        ),
        ((*WHOLE, "exercise", *TASK), "2 exercise cells for 1 solution cells"),
    ],
)
def test_a_missing_part_is_named(tmp_path: Path, tags: tuple[str, ...], finding: str) -> None:
    found = review(make_course(tmp_path / "course", _01_a=chapter_with(*tags)))
    assert any(finding in one for one in found), found


def test_a_failing_run_has_to_state_what_must_be_seen(tmp_path: Path) -> None:
    text = chapter_with(*WHOLE, *TASK, expect=False)
    (finding,) = review(make_course(tmp_path / "course", _01_a=text))
    assert "no [broken-run] cell states what must be seen" in finding


def test_a_chapter_that_puts_the_causes_to_use_needs_no_broken_app_but_a_task(
    tmp_path: Path,
) -> None:
    practice = chapter_with("setup", "quiz", *TASK)
    assert review(make_course(tmp_path / "whole", _11_a=practice)) == []
    lacking = chapter_with("setup", "quiz", "check", "quiz")
    found = review(make_course(tmp_path / "lacking", _11_a=lacking))
    assert any("no [exercise] cell from here on" in one for one in found), found
