"""docs/conformance.md and the tests of this folder name each other."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "conformance.md"
ROW = re.compile(r"^\| (\d+\.\d+) \|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
NAME = re.compile(r"`(test_\w+)`")


def table() -> dict[str, list[str]]:
    """The document's rules: number to the tests named in that row."""
    rows = ROW.findall(DOCUMENT.read_text())
    assert len({number for number, *_ in rows}) == len(rows)
    return {number: NAME.findall(tests) for number, _, _, tests in rows}


def written() -> dict[str, str]:
    """Every conformance test: name to docstring."""
    found: dict[str, str] = {}
    for path in sorted(HERE.glob("test_*.py")):
        if path.name in ("test_docs.py", "test_differential.py"):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                assert node.name not in found, f"two tests are called {node.name}"
                found[node.name] = ast.get_docstring(node) or ""
    return found


def test_every_rule_has_a_source_and_a_test() -> None:
    for number, rule, source, named in ROW.findall(DOCUMENT.read_text()):
        assert rule.strip(), number
        assert source.strip(), number
        assert NAME.findall(named), number


def test_every_test_that_the_document_names_exists() -> None:
    known = written()
    missing = {name for names in table().values() for name in names if name not in known}
    assert missing == set()


def test_every_conformance_test_stands_with_the_rules_that_its_docstring_names() -> None:
    by_table: defaultdict[str, set[str]] = defaultdict(set)
    for number, names in table().items():
        for name in names:
            by_table[name].add(number)
    by_docstring = {name: set(re.findall(r"\d+\.\d+", docstring)) for name, docstring in written().items()}
    assert by_docstring == dict(by_table)


def test_rules_are_numbered_without_gaps() -> None:
    numbers = [tuple(map(int, number.split("."))) for number in table()]
    assert numbers == sorted(numbers)
    for section in {section for section, _ in numbers}:
        count = sum(1 for other, _ in numbers if other == section)
        assert [number for other, number in numbers if other == section] == list(range(1, count + 1))
