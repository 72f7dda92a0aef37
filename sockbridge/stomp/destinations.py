"""Destinations and patterns of them: parsing, matching, and a table that finds what matches without a scan.

A pattern is a destination whose segments may hold ``?`` (one character), ``*`` (any within the segment), ``{x}``
(one segment or a part of it, remembered under that name); a segment ``**`` stands for any number of segments.

Knows: the grammar of patterns.
Does not know: who subscribes, what a destination leads to.
Spec: none in STOMP, which leaves destinations to the server; the patterns are those of Spring's simple broker.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from ..errors import UsageError

MAX_DESTINATION: Final = 1024
"""Characters in a destination."""

MAX_SEGMENTS: Final = 32
"""Segments in a destination."""

MAX_DOUBLE_STARS: Final = 2
"""``**`` in one pattern: each multiplies the places to look at."""

DOUBLE_STAR: Final = "**"

T = TypeVar("T")

_WILD = re.compile(r"[*?]|\{[^{}]*\}")
_STARS = re.compile(r"\*{2,}")
_GAPS = re.compile(r"\*|\{[^{}]*\}")


def fault_of(destination: str) -> str:
    """Why ``destination`` is none; "" if it is one."""
    if not destination:
        return "a destination is not empty"
    if len(destination) > MAX_DESTINATION:
        return f"a destination has at most {MAX_DESTINATION} characters"
    if "\0" in destination:
        return "a destination holds no NUL"
    return ""


def has_wildcard(text: str) -> bool:
    """Does a pattern's ``text`` match more than itself?"""
    return _WILD.search(text) is not None


def misplaced_stars(text: str, separator: str) -> str:
    """Why ``**`` in ``text`` says less than was meant; "" if it does not. For patterns of the application, which
    guard or serve what they match; clients may write what they like."""
    if all("**" not in part or part == DOUBLE_STAR for part in text.split(separator)):
        return ""
    hint = ", e.g. /topic/*.**" if separator == "." else ""
    return f"** stands for segments only as a whole one between {separator!r}{hint}"


def everything_under(prefix: str, separator: str) -> str:
    """A pattern for all destinations below ``prefix``."""
    return f"{prefix}/**" if separator == "/" else f"{prefix}/*{separator}**"


def has_prefix(destination: str, prefix: str) -> bool:
    """Does ``destination`` lie under ``prefix``? ``/topic/a`` and ``/topic`` lie under ``/topic``, as under
    ``/topic/``; ``/topics`` does not."""
    stem = prefix.rstrip("/")
    return destination == stem or destination.startswith(f"{stem}/")


class Prefixes:
    """Several prefixes, asked about at once: ``destination in prefixes``; see ``has_prefix``."""

    __slots__ = ("_starts", "_stems")

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._stems = frozenset(prefix.rstrip("/") for prefix in prefixes)
        self._starts = tuple(f"{stem}/" for stem in self._stems)

    def __contains__(self, destination: str) -> bool:
        return destination.startswith(self._starts) or destination in self._stems


class Kind(enum.Enum):
    """What one segment of a pattern lets in."""

    LITERAL = "itself"
    ANY = "*"
    SOME = "{x}"
    GLOB = "a text with wildcards in it"
    DOUBLE_STAR = "**"


class Segment:
    """One segment of a pattern.

    Attributes:
        text: as written, but for repeated ``*``, which say no more than one.
        kind: what it lets in.
        prefix: the text before the first wildcard.
        suffix: the text after the last; "" where there is none.
    """

    __slots__ = ("_expression", "kind", "prefix", "suffix", "text")

    def __init__(self, text: str) -> None:
        if text != DOUBLE_STAR:
            text = _STARS.sub("*", text)
        self.text = text
        first = _WILD.search(text)
        self.prefix = text if first is None else text[: first.start()]
        self.suffix = "" if first is None else _WILD.split(text)[-1]
        self._expression: re.Pattern[str] | None = None
        if first is None:
            self.kind = Kind.LITERAL
        elif text == "*":
            self.kind = Kind.ANY
        elif text == DOUBLE_STAR:
            self.kind = Kind.DOUBLE_STAR
        else:
            self.kind = Kind.SOME if first[0] == text and text[0] == "{" else Kind.GLOB
            self._expression = _compile(text)

    @property
    def is_deep(self) -> bool:
        """It is ``**``."""
        return self.kind is Kind.DOUBLE_STAR

    @property
    def is_unanchored(self) -> bool:
        """It is found by trying alone: no text of it stands at a known place."""
        return self.kind is Kind.GLOB and not self.prefix and not self.suffix

    def match(self, part: str) -> dict[str, str] | None:
        """The variables where ``part``, one segment, fits; None where it does not."""
        if self._expression is None:
            return {} if self.kind is not Kind.LITERAL or part == self.text else None
        match = self._expression.match(part)
        return None if match is None else match.groupdict()

    def covers(self, other: Segment) -> bool:
        """Does whatever ``other`` lets in fit here, too? May say False where it is True."""
        if self.kind is Kind.DOUBLE_STAR or self.text == other.text:
            return True
        if other.kind is Kind.LITERAL:
            return self.match(other.text) is not None
        return self.kind is Kind.ANY and other.kind is not Kind.DOUBLE_STAR

    def overlaps(self, other: Segment) -> bool:
        """Is there a part that fits both? May say True where it is False."""
        if other.kind is Kind.LITERAL:
            return self.match(other.text) is not None
        if self.kind is Kind.LITERAL:
            return other.match(self.text) is not None
        return self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)


def _compile(segment: str) -> re.Pattern[str]:
    # Time is linear in the part, whoever wrote the segment: after each wildcard the first place where the text fits
    # is taken and never reconsidered (atomic groups), but for the last, which must reach the end.
    texts = [re.sub(r"\\\?", ".", re.escape(text)) for text in _GAPS.split(segment)]
    wildcards = [".*?" if match[0] == "*" else f"(?P<{match[0][1:-1]}>.+?)" for match in _GAPS.finditer(segment)]
    pieces = [texts[0]]
    for wildcard, text in zip(wildcards, texts[1:], strict=True):
        is_last = len(pieces) == len(wildcards)
        pieces.append(f"{wildcard}{text}" if is_last else f"(?>{wildcard}{text})")
    return re.compile("".join(pieces) + r"\Z", re.DOTALL)


class Pattern:
    """One pattern, or a plain destination.

    Attributes:
        text: as written.
        is_literal: it holds no wildcard, so it matches itself alone.
        variables: names of its ``{x}``, in order.
    """

    __slots__ = ("__weakref__", "_segments", "_stem", "is_literal", "separator", "text", "variables")

    def __init__(self, text: str, separator: str = "/") -> None:
        """
        Raises:
            UsageError: not a pattern; the text says why.
        """
        fault = fault_of(text)
        if fault:
            raise UsageError(fault)
        if text.count(separator) >= MAX_SEGMENTS:
            raise UsageError(f"a destination has at most {MAX_SEGMENTS} segments")
        self.text = text
        self.separator = separator
        self.is_literal = not has_wildcard(text)
        self.variables = tuple(match[0][1:-1] for match in _WILD.finditer(text) if match[0][0] == "{")
        for name in self.variables:
            if not (name.isidentifier() and name.isascii()):
                raise UsageError(f"a variable is a name, not {name!r}")
        if len(set(self.variables)) < len(self.variables):
            raise UsageError(f"{text!r} names a variable twice")
        self._segments: Sequence[Segment] | None = None
        self._stem: str | None = None  # of "stem/**": what lies below it matches
        if self.is_literal:
            return
        stem = text.removesuffix(DOUBLE_STAR).removesuffix(separator)
        if text == DOUBLE_STAR or (stem and text == f"{stem}{separator}{DOUBLE_STAR}" and not has_wildcard(stem)):
            self._stem = stem
        deep = sum(segment.is_deep for segment in self.segments)
        if deep > MAX_DOUBLE_STARS:
            raise UsageError(f"a pattern has at most {MAX_DOUBLE_STARS} segments **")
        if deep and any(segment.is_unanchored for segment in self.segments):
            raise UsageError("a pattern with ** has no other segment that begins and ends with a wildcard, but for *")

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    @property
    def segments(self) -> Sequence[Segment]:
        """Of the text, between separators."""
        if self._segments is None:
            self._segments = [Segment(part) for part in self.text.split(self.separator)]
        return self._segments

    def match(self, destination: str) -> dict[str, str] | None:
        """The variables where ``destination`` matches; None where it does not."""
        if self.is_literal:
            return {} if destination == self.text else None
        if destination.count(self.separator) >= MAX_SEGMENTS:
            return None
        stem = self._stem
        if stem is not None:  # most rules are of this kind, and each SEND asks them
            is_below = destination.startswith(stem) and destination[len(stem) : len(stem) + 1] in ("", self.separator)
            return {} if is_below or not stem else None
        return _match(self.segments, destination.split(self.separator))

    def covers(self, other: Pattern) -> bool:
        """Does every destination that ``other`` matches match this one, too? May say False where it is True."""
        return _align(self.segments, other.segments, _covers_at)

    def overlaps(self, other: Pattern) -> bool:
        """Is there a destination that both match? May say True where it is False."""
        return _align(self.segments, other.segments, _overlaps_at)

    @property
    def last_variable(self) -> int:
        """Which segment holds the last variable; -1 if none does."""
        named = [index for index, segment in enumerate(self.segments) if "{" in "".join(_WILD.findall(segment.text))]
        return named[-1] if named else -1

    @property
    def specificity(self) -> tuple[int, int, int, int]:
        """For choosing among patterns that match: the greater, the more closely it says what it wants."""
        wild = _WILD.findall(self.text)
        deep = sum(segment.is_deep for segment in self.segments)
        stars = len(wild) - len(self.variables)
        return -deep, -len(wild), len(_WILD.sub("", self.text)), -stars


def _match(segments: Sequence[Segment], parts: Sequence[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for index, segment in enumerate(segments):
        if segment.kind is Kind.DOUBLE_STAR:
            rest = segments[index + 1 :]
            for skipped in range(index, len(parts) + 1):
                tail = _match(rest, parts[skipped:])
                if tail is not None:
                    return {**found, **tail}
            return None
        variables = segment.match(parts[index]) if index < len(parts) else None
        if variables is None:
            return None
        found.update(variables)
    return found if len(parts) == len(segments) else None


Step = Callable[[Sequence[Segment], Sequence[Segment], int, int], list[tuple[int, int]]]


def _covers_at(one: Sequence[Segment], other: Sequence[Segment], i: int, j: int) -> list[tuple[int, int]]:
    if i == len(one):
        return []
    if one[i].kind is Kind.DOUBLE_STAR:
        return [(i + 1, j), *([(i, j + 1)] if j < len(other) else [])]
    return [(i + 1, j + 1)] if j < len(other) and one[i].covers(other[j]) else []


def _overlaps_at(one: Sequence[Segment], other: Sequence[Segment], i: int, j: int) -> list[tuple[int, int]]:
    has_one, has_other = i < len(one), j < len(other)
    steps = []
    if has_one and one[i].kind is Kind.DOUBLE_STAR:
        steps += [(i + 1, j), *([(i, j + 1)] if has_other else [])]
    if has_other and other[j].kind is Kind.DOUBLE_STAR:
        steps += [(i, j + 1), *([(i + 1, j)] if has_one else [])]
    if not steps and has_one and has_other and one[i].overlaps(other[j]):
        steps.append((i + 1, j + 1))
    return steps


def _align(one: Sequence[Segment], other: Sequence[Segment], step: Step) -> bool:
    # Is there a way through both? Each place is visited once.
    waiting, seen = [(0, 0)], {(0, 0)}
    while waiting:
        i, j = waiting.pop()
        if i == len(one) and j == len(other):
            return True
        for place in step(one, other, i, j):
            if place not in seen:
                seen.add(place)
                waiting.append(place)
    return False


class _Node:
    """Where the patterns that begin alike go on, segment by segment."""

    __slots__ = ("any", "double", "globs", "is_double", "literals", "some", "values")

    def __init__(self, *, is_double: bool = False) -> None:
        self.is_double = is_double  # reached by **, so it stays where it is for any segment
        self.values: dict[object, None] = {}
        self.literals: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.some: _Node | None = None
        self.double: _Node | None = None
        # lengths of prefix and suffix -> prefix and suffix -> text -> where it leads
        self.globs: dict[tuple[int, int], dict[tuple[str, str], dict[str, tuple[Segment, _Node]]]] = {}

    def is_empty(self) -> bool:
        return not (self.values or self.literals or self.any or self.some or self.double or self.globs)

    def child(self, segment: Segment) -> _Node | None:
        kind = segment.kind
        if kind is Kind.LITERAL:
            return self.literals.get(segment.text)
        if kind is Kind.GLOB:
            bucket = self.globs.get(_lengths(segment), {}).get((segment.prefix, segment.suffix), {})
            return bucket[segment.text][1] if segment.text in bucket else None
        return self.any if kind is Kind.ANY else self.some if kind is Kind.SOME else self.double

    def grow(self, segment: Segment) -> _Node:
        kind = segment.kind
        node = _Node(is_double=kind is Kind.DOUBLE_STAR)
        if kind is Kind.LITERAL:
            self.literals[segment.text] = node
        elif kind is Kind.GLOB:
            buckets = self.globs.setdefault(_lengths(segment), {})
            buckets.setdefault((segment.prefix, segment.suffix), {})[segment.text] = (segment, node)
        elif kind is Kind.ANY:
            self.any = node
        elif kind is Kind.SOME:
            self.some = node
        else:
            self.double = node
        return node

    def cut(self, segment: Segment) -> None:
        kind = segment.kind
        if kind is Kind.LITERAL:
            del self.literals[segment.text]
        elif kind is Kind.GLOB:
            lengths, ends = _lengths(segment), (segment.prefix, segment.suffix)
            del self.globs[lengths][ends][segment.text]
            if not self.globs[lengths][ends]:
                del self.globs[lengths][ends]
            if not self.globs[lengths]:
                del self.globs[lengths]
        elif kind is Kind.ANY:
            self.any = None
        elif kind is Kind.SOME:
            self.some = None
        else:
            self.double = None

    def step(self, part: str) -> Iterator[_Node]:
        """Where the segment ``part`` leads."""
        if self.is_double:
            yield self
        literal = self.literals.get(part)
        if literal is not None:
            yield literal
        if self.any is not None:
            yield self.any
        if self.some is not None and part:
            yield self.some
        for (before, after), buckets in self.globs.items():
            ends = part[:before], part[len(part) - after :] if after else ""
            for segment, node in buckets.get(ends, _NO_GLOBS).values():
                if segment.match(part) is not None:
                    yield node


def _lengths(segment: Segment) -> tuple[int, int]:
    return len(segment.prefix), len(segment.suffix)


_NO_GLOBS: Final[Mapping[str, tuple[Segment, _Node]]] = {}


class PatternTable(Generic[T]):
    """Values by pattern; finds those whose pattern matches a destination.

    Plain destinations are found by one look into a dict, patterns by walking a tree along the segments, so a search
    costs the same however many there are. Only segments like ``a*b*c`` that share beginning and end are tried in turn.
    """

    __slots__ = ("_literals", "_root", "_separator", "size")

    def __init__(self, separator: str = "/") -> None:
        self.size = 0
        self._separator = separator
        self._literals: dict[str, dict[T, None]] = {}
        self._root = _Node()

    def __len__(self) -> int:
        """How many values it holds."""
        return self.size

    def add(self, pattern: Pattern, value: T) -> None:
        """Put in ``value``, which is not there yet under this pattern."""
        if pattern.is_literal:
            self._literals.setdefault(pattern.text, {})[value] = None
        else:
            node = self._root
            for segment in pattern.segments:
                node = node.child(segment) or node.grow(segment)
            node.values[value] = None
        self.size += 1

    def discard(self, pattern: Pattern, value: T) -> None:
        """Take ``value`` out; does nothing if it is not there."""
        if pattern.is_literal:
            values = self._literals.get(pattern.text, {})
            if value in values:
                del values[value]
                self.size -= 1
                if not values:
                    del self._literals[pattern.text]
            return
        path: list[tuple[_Node, Segment]] = []
        node = self._root
        for segment in pattern.segments:
            below = node.child(segment)
            if below is None:
                return
            path.append((node, segment))
            node = below
        if value in node.values:
            del node.values[value]
            self.size -= 1
        for above, segment in reversed(path):
            if not node.is_empty():
                break
            above.cut(segment)
            node = above

    def match(self, destination: str) -> list[T]:
        """The values whose pattern matches, plain destinations first."""
        found = list(self._literals.get(destination, ()))
        if not self._root.is_empty():
            found.extend(self._search(destination))
        return found

    def _search(self, destination: str) -> Iterator[T]:
        if destination.count(self._separator) >= MAX_SEGMENTS:
            return
        nodes = _with_double_stars([self._root])
        for part in destination.split(self._separator):
            nodes = _with_double_stars(after for node in nodes for after in node.step(part))
            if not nodes:
                return
        for node in nodes:
            yield from node.values  # type: ignore[misc]  # what add() put there


def _with_double_stars(nodes: Iterable[_Node]) -> dict[_Node, None]:
    # ** stands for no segment as well, so whoever stands before it also stands behind it.
    reached: dict[_Node, None] = {}
    for node in nodes:
        reached[node] = None
        while node.double is not None:
            node = node.double
            reached[node] = None
    return reached
