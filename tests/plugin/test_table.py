"""The table in doc/prosody.md is about tests that exist."""

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent


def test_each_row_of_the_table_is_a_test():
    text = (HERE.parents[1] / "doc/prosody.md").read_text()
    rows = 0
    for file, table in re.findall(r"^`tests/plugin/(test_\w+\.py)`\n\n((?:\|.*\n)+)", text, re.M):
        tests = set(re.findall(r"^def test_(\w+)", (HERE / file).read_text(), re.M))
        for case in re.findall(r"^\| ([a-z][^|]*?) \|", table, re.M):
            rows += 1
            assert case == "case" or case.replace(" ", "_") in tests, f"{file} has no {case!r}: run tests/plugin/table"
    assert rows > 100
