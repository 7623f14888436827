"""Waiting for something to become true. Every wait has a bound."""

import time


class Timeout(AssertionError):
    """What was waited for did not happen."""


def until(check, what, seconds=20.0):
    """Call check() until it returns something true; return that."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Timeout(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.02)


def settled(read, what, seconds=20.0, quiet=0.4):
    """Call read() until its value has stayed the same for `quiet` seconds; return it."""
    deadline = time.monotonic() + seconds
    value, since = read(), time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() > deadline:
            raise Timeout(f"{what} did not settle within {seconds:.0f} s")
        time.sleep(0.05)
        now = read()
        if now != value:
            value, since = now, time.monotonic()
    return value
