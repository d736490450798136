"""`Prefer` (RFC 7240): whether a client wants to come back for its answer, and how long it would rather wait first."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

#: A wait of more seconds than this is one of so many: nobody holds a connection for longer.
MAX_WAIT_SECONDS: Final = 3600

_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WORD: Final = rf'(?:{_NAME}|"(?:[^"\\]|\\.)*")'
#: One preference: its name, its value, and parameters, which none of ours has.
_PREFERENCE: Final = re.compile(
    rf"\s*(?P<name>{_NAME})(?:\s*=\s*(?P<value>{_WORD}))?(?:\s*;(?:\s*{_NAME}(?:\s*=\s*{_WORD})?)?)*\s*"
)
#: A list's elements: what stands between commas that are in no quotes.
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client prefers."""

    #: It will come back for the answer.
    respond_async: bool = False
    #: Seconds it would wait for the answer first.
    wait: int | None = None
    #: The preferences that are not ours, for the server; None: there are none.
    others: str | None = None


def read_preferences(headers: Iterable[str]) -> Preferences:
    """The preferences in all `Prefer` headers of a request, as if they were one.

    The first of several with the same name counts. What cannot be read is not ours, and breaks nothing: a preference
    is no demand.
    """
    found: dict[str, str] = {}
    others = []
    for element in _elements(headers):
        match = _PREFERENCE.fullmatch(element)
        name = match["name"].lower() if match else ""
        if match is None or name not in ("respond-async", "wait"):
            others.append(element.strip())
        else:
            found.setdefault(name, _text(match["value"]))
    wait = found.get("wait", "")
    return Preferences(
        respond_async=found.get("respond-async") == "",
        wait=min(int(wait), MAX_WAIT_SECONDS) if re.fullmatch("[0-9]{1,9}", wait) else None,
        others=", ".join(others) or None,
    )


def _elements(headers: Iterable[str]) -> Iterator[str]:
    for header in headers:
        yield from (element for element in _ELEMENT.findall(header) if element.strip())


def _text(word: str | None) -> str:
    """A token or quoted string as the text it stands for; no value and an empty one are the same."""
    if word is None or not word.startswith('"'):
        return word or ""
    return re.sub(r"\\(.)", r"\1", word[1:-1])
