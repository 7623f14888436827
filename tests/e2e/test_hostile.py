"""Odd hellos and near misses, as the shim's --explain reads them: tests/vectors/hostile.py has them and the reasons."""

import itertools
import os
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
VECTORS = TOP / "tests" / "vectors"
BINARY = TOP / os.environ.get("XMPP443_BUILD", "build") / "xmpp443-shim"

sys.path.insert(0, str(VECTORS))

import hostile  # noqa: E402

# With sanitizers a process for each takes a minute, and memory is what the unit tests and the fuzzer look after.
STRIDE = 13 if "san" in BINARY.parent.name else 1
FAMILIES = [(title, list(group)) for title, group in itertools.groupby(hostile.families(), lambda family: family.title)]


def printed(text):
    """As --explain does it: nothing of a stranger raw."""
    if text is None:
        return "(none)"
    if isinstance(text, str):
        text = text.encode()
    return "".join(chr(c) if 0x20 < c < 0x7f and c != 0x5c else f"\\x{c:02x}" for c in text)


def explain(flight):
    result = subprocess.run([BINARY, "-c", VECTORS / "hostile.conf", "--explain", "-"], input=flight, capture_output=True, timeout=20)
    assert result.returncode == 0, result.stderr
    told = dict(line.split(":", 1) for line in result.stdout.decode("ascii").partition("\n\n")[0].splitlines())
    return told["verdict"].strip(), told["sni"].strip(), told["alpn"].split(), told["route"].strip()


@pytest.mark.parametrize("title, families", FAMILIES, ids=[title.encode("ascii", "replace").decode() for title, _ in FAMILIES])
def test_a_hostile_hello_gets_its_verdict_names_and_route(title, families):
    hellos = [(family, flight) for family in families for flight in family.flights]
    for n, (family, flight) in list(enumerate(hellos))[::STRIDE if len(hellos) > STRIDE else 1]:
        verdict, sni, alpn, route = explain(flight)
        what = f"{title}, hello {n}: {flight[:300].hex()}"
        assert verdict == family.verdict, what
        if verdict == "ok":
            assert sni == printed(family.sni), what
            assert alpn == ([printed(name) for name in family.alpn] or ["(none)"]), what
        assert route.startswith("(none yet" if family.route == "none yet" else family.route + " "), what


def test_each_title_stands_for_one_group_of_hellos():
    assert len({title for title, _ in FAMILIES}) == len(FAMILIES)


def test_the_table_is_up_to_date():
    assert (VECTORS / "HOSTILE.md").read_text() == "\n".join(hostile.table()) + "\n"
