"""The mutants that mutmut's operators make of the functions of a folder."""

import difflib
import pathlib
import random
from collections.abc import Sequence
from typing import NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import Mutation, MutationVisitor, OuterFunctionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string
from mutmut.mutation.pragma_handling import IgnoredCode

__all__ = ["FAMILIES", "Mutant", "Source", "sample_mutants"]

FAMILIES = ("losses", "quantizers", "masking", "decoding")

# Words of messages are held by the tests of complaints, and a pattern of einops cannot be spelt
# otherwise and still run: strings are left alone, as cosmic-ray leaves them.
OPERATORS = [pair for pair in mutation_operators if pair[1] is not operator_string]


class Mutant(NamedTuple):
    """One change of one line."""

    path: str  # from the repository's root
    function: str
    lines: tuple[int, int]  # first and last of the changed expression
    before: str
    after: str
    source: str  # of the whole file, changed
    key: str  # what names it in the results: path:line:column:number


class _Visitor(MutationVisitor):
    """mutmut's, without the limits that its own way to switch mutants on asks for."""

    METADATA_DEPENDENCIES = (PositionProvider, OuterFunctionProvider)

    def __init__(self) -> None:
        super().__init__(OPERATORS, IgnoredCode(set(), set(), set()))
        self.places: list[tuple[int, int, int]] = []

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef):  # decorated ones as well
            return False
        return bool(super()._skip_node_and_children(node))

    def _create_mutations(self, node: cst.CSTNode) -> None:
        super()._create_mutations(node)
        place = self.get_metadata(PositionProvider, node, None)
        at = (place.start.line, place.end.line, place.start.column) if place else (0, 0, 0)
        self.places += [at] * (len(self.mutations) - len(self.places))


class Source:
    """A file and all that can be changed inside its functions."""

    def __init__(self, root: pathlib.Path, path: pathlib.Path) -> None:
        self.path = str(path.relative_to(root))
        self.code = path.read_text()
        visitor = _Visitor()
        self.module = MetadataWrapper(cst.parse_module(self.code)).visit(visitor)
        # (line, last line, column, which of those that begin there), and the change itself
        self.mutations: list[tuple[tuple[int, int, int, int], str, Mutation]] = []
        seen: dict[tuple[int, int], int] = {}
        for mutation, (line, last, column) in zip(visitor.mutations, visitor.places, strict=True):
            outer = mutation.contained_by_top_level_function
            if line and isinstance(outer, cst.FunctionDef):
                number = seen[line, column] = seen.get((line, column), -1) + 1
                place = (line, last, column, number)
                self.mutations.append((place, outer.name.value, mutation))

    def build(self, index: int) -> Mutant:
        """Return one mutant, its source written out."""
        (line, last, column, number), function, mutation = self.mutations[index]
        mutated = self.module.deep_replace(mutation.original_node, mutation.mutated_node)
        assert isinstance(mutated, cst.Module)
        changes = difflib.unified_diff(
            self.code.splitlines(), mutated.code.splitlines(), n=0, lineterm=""
        )
        marked = [change for change in list(changes)[3:] if change[:1] in ("-", "+")]
        before, after = (
            " ".join(change[1:].strip() for change in marked if change[0] == sign) for sign in "-+"
        )
        key = f"{self.path}:{line}:{column}:{number}"
        return Mutant(self.path, function, (line, last), before, after, mutated.code, key)


def sample_mutants(
    root: pathlib.Path, families: Sequence[str], count: int, seed: int
) -> list[Mutant]:
    """Return `count` mutants of each family, drawn evenly from all of it, family by family in turn.

    A longer sample begins with the shorter one of the same seed and sources.
    """
    columns = []
    for family in families:
        sources = [Source(root, p) for p in sorted((root / "src/ssltok" / family).glob("*.py"))]
        places = [(source, i) for source in sources for i in range(len(source.mutations))]
        random.Random(f"{seed} {family}").shuffle(places)
        columns.append([source.build(index) for source, index in places[:count]])
    return [mutant for row in zip(*columns, strict=True) for mutant in row]
