r"""The part of Kubernetes' JSONPath that printer columns and the scale subresource use.

`.a.b`, `['a.b']`, `.a\.b`, `[0]`, `[*]` and `[?(@.type=="Ready")]`.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

Step = Callable[[Any], Iterator[Any]]

_TOKEN: Final = re.compile(
    r"""
    \.(?P<name>(?:[^.\[\]\\]|\\.)+)                                   # .name, a dot in it written \.
  | \[\s*'(?P<quoted>[^']*)'\s*\]                                      # ['name']
  | \[\s*(?P<index>-?\d+)\s*\]                                         # [0]
  | \[\s*(?P<all>\*)\s*\]                                              # [*]
  | \[\?\(\s*@\.(?P<key>[\w.-]+)\s*(?P<op>==|!=)\s*["'](?P<value>[^"']*)["']\s*\)\]   # [?(@.type=="Ready")]
    """,
    re.VERBOSE,
)


class JsonPathError(ValueError):
    """A path outside the supported part; the text shows it."""


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(position: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= position < len(value):
            yield value[position]

    return step


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _where(key: str, *, equal: bool, wanted: str) -> Step:
    path = compile_path("." + key)

    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            if (next(iter(path(item)), None) == wanted) is equal:
                yield item

    return step


def _step(match: re.Match[str]) -> Step:
    if match["name"] is not None:
        return _field(re.sub(r"\\(.)", r"\1", match["name"]))
    if match["quoted"] is not None:
        return _field(match["quoted"])
    if match["index"] is not None:
        return _index(int(match["index"]))
    if match["all"] is not None:
        return _each
    return _where(match["key"], equal=match["op"] == "==", wanted=match["value"])


@lru_cache(maxsize=1024)
def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """A function that lists the values at `path` in a document.

    Raises:
        JsonPathError: the path is not of the supported form.
    """
    steps, position = [], 0
    while position < len(path):
        match = _TOKEN.match(path, position)
        if match is None:
            raise JsonPathError(f"unsupported JSONPath {path!r} at {path[position:]!r}")
        steps.append(_step(match))
        position = match.end()

    def find(document: Any) -> list[Any]:
        found = [document]
        for step in steps:
            found = [result for value in found for result in step(value)]
        return found

    return find
