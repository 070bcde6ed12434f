"""The table of systems says the truth: every part is public, every recipe is there."""

import importlib
import pathlib
import re

import pytest

from tests.test_recipes import CASES, FOLDER

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "pages" / "guides" / "systems.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and "`" in line
]
NUMBERED = [row for row in ROWS if row[0].isdigit()]


def test_every_system_has_its_row() -> None:
    assert [int(row[0]) for row in NUMBERED] == list(range(1, 52))
    assert len({row[1] for row in NUMBERED}) == 51


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
def test_parts_and_recipes_exist(row: list[str]) -> None:
    parts = re.findall(r"`(ssltok[\w.]+)`", row[-2])
    assert parts, "a system names at least one part"
    assert row[-2] == ", ".join(f"`{part}`" for part in parts), "parts are public names alone"
    for part in parts:
        package, _, name = part.rpartition(".")
        assert name in importlib.import_module(package).__all__, f"{part} is not public"
    recipes = re.findall(r"`(\w+)\.py(?: --method (\w+))?`", row[-1])
    for script, method in recipes:
        assert (FOLDER / f"{script}.py").is_file(), f"no recipe {script}.py"
        if method:
            assert (script, method) in CASES, f"{script}.py knows no method {method}"
    if not recipes:
        reason = row[-1].removeprefix("No recipe: ")
        assert reason != row[-1], "no recipe needs a reason"
        assert len(reason.split()) >= 5


def test_the_page_counts_the_recipes() -> None:
    words = " ".join(PAGE.read_text().split())
    assert f"{len(CASES)} methods in {len({script for script, _ in CASES})} scripts" in words


def test_every_recipe_is_in_the_table() -> None:
    pattern = re.compile(r"`(\w+)\.py(?: --method (\w+))?`")
    named = {pair for row in ROWS for pair in pattern.findall(row[-1])}
    for script, method in CASES:
        alone = [name for name, _ in CASES].count(script) == 1
        assert (script, "" if alone else method) in named, f"{script} {method}"
