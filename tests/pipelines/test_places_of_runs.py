"""Folders of runs of an earlier version: never deleted, and told in words what to do."""

import json
import os
import pathlib
from typing import Any

import pytest

from ssltok.pipelines._folders._place import check_place

ORIGIN = {"ssltok": "0.1.0", "seed": 0, "run": "0" * 64}
FORMS: dict[str, dict[str, Any]] = {
    "0.1": {"dataset": "GunPoint", "provenance": ORIGIN, "cas_fcn": 0.5},
    "with rows": {"about": {"dataset": "GunPoint", "provenance": ORIGIN}, "rows": []},
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_finished_run_that_lists_no_files_stays_and_says_what_to_do(
    form: str, overwrite: bool, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "report.html").write_text("<p>")
    (tmp_path / "metrics.json").write_text(json.dumps(FORMS[form]))
    before = sorted(os.walk(tmp_path))
    with pytest.raises(FileExistsError) as caught:
        check_place(tmp_path, overwrite=overwrite)
    assert str(caught.value) == (
        f"run: out must be new, or hold a run of this version; got {tmp_path}, a finished run of "
        "an earlier one, which does not list its files, so that none is deleted: give another "
        "folder, or move this one away"
    )
    assert sorted(os.walk(tmp_path)) == before


@pytest.mark.parametrize("missing", ["model", "report.html", "provenance"])
def test_what_is_no_run_is_called_so(missing: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / ("other" if missing == "model" else "model")).mkdir()
    (tmp_path / ("page.html" if missing == "report.html" else "report.html")).write_text("<p>")
    numbers = {"dataset": "x"} if missing == "provenance" else FORMS["0.1"]
    (tmp_path / "metrics.json").write_text(json.dumps(numbers))
    with pytest.raises(FileExistsError, match="something that is no run of this version"):
        check_place(tmp_path, overwrite=True)
