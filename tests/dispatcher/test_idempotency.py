"""Idempotency keys: which ones are keys, and what makes two requests the same."""

import pytest

from controller.dispatcher.idempotency import MAX_KEY, Fingerprint, read_key


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        (["8e03978e-40d5-43dd-bc93-6894a57f9324"], "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (['"8e03978e"'], "8e03978e"),
        ([' "with \\"quotes\\" and \\\\ blanks" '], 'with "quotes" and \\ blanks'),
        (["k" * MAX_KEY], "k" * MAX_KEY),
        (['"' + "k" * MAX_KEY + '"'], "k" * MAX_KEY),
    ],
)
def test_a_key(headers: list[str], key: str | None) -> None:
    assert read_key(headers) == key


@pytest.mark.parametrize(
    "headers",
    [
        [""],
        ['""'],
        ["a b"],
        ["k" * (MAX_KEY + 1)],
        ['"' + "k" * (MAX_KEY + 1) + '"'],
        ['"open'],
        ["schlüssel"],
        ["a", "a"],
    ],
    ids=["empty", "empty string", "blank", "long", "long string", "open string", "not ascii", "two"],
)
def test_no_key(headers: list[str]) -> None:
    with pytest.raises(ValueError, match="Idempotency-Key"):
        read_key(headers)


def fingerprint(method: str = "POST", target: str = "/run", *parts: bytes) -> bytes:
    found = Fingerprint(method, target)
    for part in parts:
        found.add(part)
    return found.digest()


def test_requests_are_the_same_by_method_target_and_body_however_the_body_came() -> None:
    same = fingerprint("POST", "/run", b"one two")
    assert fingerprint("POST", "/run", b"one", b" two") == same
    others = [("PUT", "/run", b"one two"), ("POST", "/run?", b"one two"), ("POST", "/run", b"one two ")]
    assert same not in [fingerprint(*other) for other in others]
