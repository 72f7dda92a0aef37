"""docs/stomp-conformance.md and the tests of STOMP's wire name each other."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
SPRING = HERE.parent / "spring"
SOCKJS = HERE.parent
DOCUMENT = HERE.parent.parent.parent / "docs" / "stomp-conformance.md"
ROW = re.compile(r"^\| (\d+\.\d+) \|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
NAME = re.compile(r"`(test_\w+)`")
NUMBER = re.compile(r"\b\d+\.\d+\b")


def table() -> dict[str, list[str]]:
    """The document's rules: number to the tests named in that row."""
    rows = ROW.findall(DOCUMENT.read_text())
    assert len({number for number, *_ in rows}) == len(rows)
    return {number: NAME.findall(tests) for number, _, _, tests in rows}


def written(folders: Iterable[Path]) -> dict[str, str]:
    """Every conformance test of ``folders``: name to docstring."""
    found: dict[str, str] = {}
    for path in sorted(path for folder in folders for path in folder.glob("test_*.py")):
        if path.name == "test_docs.py":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                assert node.name not in found, f"two tests are called {node.name}"
                found[node.name] = ast.get_docstring(node) or ""
    return found


def rules(docstring: str) -> set[str]:
    """The numbers in "Rule 1.2: ..." or "Rules 1.2 and 1.3: ...", not those of STOMP's versions after the colon."""
    head = re.match(r"Rules? ([^:]*?)[.:](?:\s|$)", docstring)
    return set(NUMBER.findall(head[1])) if head else set()


def test_every_rule_has_a_source_and_a_test() -> None:
    for number, rule, source, named in ROW.findall(DOCUMENT.read_text()):
        assert rule.strip(), number
        assert source.strip(), number
        assert NAME.findall(named), number


def test_every_test_that_the_document_names_exists() -> None:
    """Those of SockJS serve some of the forty checks as well."""
    known = {**written([SOCKJS]), **written([HERE, SPRING])}
    missing = {name for names in table().values() for name in names if name not in known}
    assert missing == set()


def test_every_test_stands_with_the_rules_that_its_docstring_names() -> None:
    own = written([HERE, SPRING])
    by_table: defaultdict[str, set[str]] = defaultdict(set)
    for number, names in table().items():
        for name in names:
            if name in own:
                by_table[name].add(number)
    assert {name: rules(docstring) for name, docstring in own.items()} == dict(by_table)


def test_rules_are_numbered_without_gaps() -> None:
    numbers = [tuple(map(int, number.split("."))) for number in table()]
    assert numbers == sorted(numbers)
    for section in {section for section, _ in numbers}:
        count = sum(1 for other, _ in numbers if other == section)
        assert [number for other, number in numbers if other == section] == list(range(1, count + 1))


def test_the_forty_checks_are_all_there() -> None:
    assert [number for number in table() if number.startswith("7.")] == [f"7.{check}" for check in range(1, 41)]
