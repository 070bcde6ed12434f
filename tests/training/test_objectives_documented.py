"""Every objective's docstring names its options in their order, the shared ones included."""

import inspect
import re

import pytest

import ssltok.training
from ssltok.training._objectives._documented import OPTIONS, documented
from ssltok.training._objectives._plain import PlainObjective

KINDS = [
    kind
    for kind in (getattr(ssltok.training, name) for name in ssltok.training.__all__)
    if isinstance(kind, type) and issubclass(kind, PlainObjective)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_docstring_names_each_option_in_its_order(kind: type) -> None:
    text = inspect.getdoc(kind) or ""
    section = re.search(
        r"^Args:\n((?:    .*\n)*)\nRaises:\n    TypeError: .*\n", text, re.MULTILINE
    )
    assert section is not None
    named = re.findall(r"^    (\w+): \S", section[1], re.MULTILINE)
    assert named == list(inspect.signature(kind).parameters)


def test_all_objectives_are_asked() -> None:
    assert len(KINDS) == 35


def test_a_docstring_keeps_what_it_says_itself() -> None:
    class One(PlainObjective):
        """One.

        Args:
            pool: Its own words,
                on two lines.

        Example:
            >>> 1
            1
        """

        def __init__(self, encoder: object, *, pool: object = None, views: int = 2) -> None:
            super().__init__()

    text = documented(One).__doc__ or ""
    assert text.count("pool:") == 1
    assert "Its own words,\n        on two lines.\n" in text
    assert text.index("encoder: ") < text.index("pool: ") < text.index(OPTIONS["views"])
    assert text.index("Raises:") < text.index("Example:")


def test_an_option_that_nobody_describes_is_an_error() -> None:
    class Two(PlainObjective):
        """Two.

        Args:
            pool: Described.
        """

        def __init__(self, *, pool: object = None, secret: int = 2) -> None:
            super().__init__()

    with pytest.raises(KeyError, match="secret"):
        documented(Two)
