"""Files and the numbers that their names end in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.data.numbering import by_number, check_partners, list_numbered
from uva_edge.errors import DataError

WORDS = st.text("ab_-0123456789", max_size=4).filter(lambda word: not word[-1:].isdigit())
WIDTHS = st.integers(1, 5)


@settings(max_examples=100, deadline=None)
@given(prefix=WORDS, first=st.integers(0, 9995), count=st.integers(1, 40), width=WIDTHS, data=st.data())
def test_any_consecutive_numbers_come_in_order(
    prefix: str, first: int, count: int, width: int, data: st.DataObject
) -> None:
    files = [Path(f"{prefix}{number:0{width}d}.png") for number in range(first, first + count)]
    found = by_number(data.draw(st.permutations(files)))
    assert list(found) == list(range(first, first + count))
    assert list(found.values()) == files


@settings(max_examples=100, deadline=None)
@given(count=st.integers(3, 40), data=st.data())
def test_a_gap_is_named(count: int, data: st.DataObject) -> None:
    gap = data.draw(st.integers(2, count - 1))
    files = [Path(f"v_{number:05d}.png") for number in range(1, count + 1) if number != gap]
    with pytest.raises(DataError, match=f"v_{gap - 1:05d}.png: the file of the frame after it is missing"):
        by_number(files)


@settings(max_examples=100, deadline=None)
@given(
    frames=st.sets(st.integers(0, 30), min_size=1, max_size=20),
    labels=st.sets(st.integers(0, 30), min_size=1, max_size=20),
)
def test_partners_are_those_of_the_same_number(frames: set[int], labels: set[int]) -> None:
    sides = ({number: Path(f"{side}/{number}.png") for number in numbers} for side, numbers in
             (("frames", frames), ("labels", labels)))  # fmt: skip
    if frames == labels:
        check_partners(*sides)
        return
    first = min(frames ^ labels)
    alone, other = ("frames", "labels") if first in frames else ("labels", "frames")
    words = f"{alone}/{first}.png: nothing of frame {first} in {other}; "
    with pytest.raises(DataError, match=words):
        check_partners(*sides)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("cover.png",), r"cover\.png: expected a name that ends in the number"),
        (("1a.png",), r"1a\.png: expected a name that ends in the number"),
        (("٣.png",), r"٣\.png: expected a name that ends in the number"),
        (("a1.png", "a01.png"), r"a1\.png: a01\.png is of frame 1 too"),
        (("0001.png", "0001.jpg"), r"0001\.png: 0001\.jpg is of frame 1 too"),
    ],
)
def test_other_names_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        by_number(Path(name) for name in names)


def test_a_name_of_digits_is_cut_where_the_layout_says() -> None:
    assert list(by_number([Path("2023100001.png"), Path("2023100002.png")], digits=5)) == [1, 2]


def test_only_visible_files_of_the_suffixes_are_listed(tmp_path: Path) -> None:
    for name in ("0002.PNG", "0001.png", "._0001.png", "Thumbs.db", "0003.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_numbered(tmp_path, (".png",)).values()] == ["0001.png", "0002.PNG"]
    with pytest.raises(DataError, match=r"expected files \.bmp, got none"):
        list_numbered(tmp_path, (".bmp",))
    with pytest.raises(DataError, match="nowhere: No such folder"):
        list_numbered(tmp_path / "nowhere", (".png",))
