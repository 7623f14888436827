"""Prosodys for the tests: one that a file's tests share, and fresh ones."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from prosody_box import Prosody, Sender  # noqa: E402


@pytest.fixture(scope="module")
def prosody():
    box = Prosody('http_default_host = "one.example"')
    yield box
    box.close()


@pytest.fixture
def fresh():
    """Makes a Prosody for one test."""
    boxes = []

    def make(*args, **kwargs):
        boxes.append(Prosody(*args, **kwargs))
        return boxes[-1]
    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def sender(prosody):
    sender = Sender(prosody.socket)
    yield sender
    sender.close()
