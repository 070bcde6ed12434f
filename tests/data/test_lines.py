"""Lines counted by bytes are those that a reader of lines finds."""

import pathlib

import numpy as np
import pytest

from ssltok.data import Reading, load_dataset
from ssltok.data import _lines as lines


@pytest.mark.parametrize("seed", range(20))
def test_counting_bytes_is_reading_lines(
    tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    rows = [";".join(["1.5"] * int(random.integers(2, 6))) for _ in range(30)]
    for _ in range(int(random.integers(4))):
        rows.insert(int(random.integers(1, 30)), "")
    end = "\r\n" if seed % 2 else "\n"
    text = "# a note; and\n" * (seed % 3) + end.join(rows) + end * int(random.integers(3))
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    monkeypatch.setattr(lines, "CHUNK", int(random.integers(1, 40)))
    first = seed % 3 + 1
    fast = lines._counted(path, ord(";"), first)
    slow = lines.widths_of(path, "UTF-8", ";", first=first)
    assert fast is not None
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("text", ['1;"2;3"\n', "1;2\r3;4\r", "1;2\n  \n3;4\n"])
def test_texts_that_need_a_closer_look(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    assert lines._counted(path, ord(";"), 1) is None
    assert (lines.widths_of(path, "utf-8", ";", first=1)[0] == 2).all()


def test_a_line_far_down_is_named(tmp_path: pathlib.Path) -> None:
    """Blank lines and comments count as lines; a bad byte says which encodings there are."""
    path = tmp_path / "x.csv"
    rows = ["# note", "", "a,b", *(["1.5,2"] * 500), "", "3,oops", "4,5"]
    path.write_text("\n".join(rows))
    reading = Reading(layout="time_in_rows")
    with pytest.raises(ValueError, match=r"got 'oops' in line 505, column 'b'"):
        load_dataset(path, reading=reading)
    path.write_bytes(path.read_bytes().replace(b"oops", b"\xe9"))
    with pytest.raises(ValueError, match=r"must be text in utf-8; .*encoding='cp1252'"):
        load_dataset(path, reading=reading)
