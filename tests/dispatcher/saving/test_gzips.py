"""gzip on the way: whatever the parts a body comes in, it is the same body."""

import asyncio
import gzip
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.dispatcher.saving.gzips import AT_ONCE_BYTES, Content, Squeezed, Unpacked


class Parts:
    """A body that comes in these parts."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = [part for part in parts if part]
        self.total_bytes = 0

    async def readany(self) -> bytes:
        part = self._parts.pop(0) if self._parts else b""
        self.total_bytes += len(part)
        return part

    def at_eof(self) -> bool:
        return not self._parts


async def read(content: Content) -> bytes:
    whole = b""
    while part := await content.readany():
        whole += part
    assert content.at_eof()
    return whole


parts = st.lists(
    st.one_of(st.binary(max_size=200), st.integers(1, 3).map(lambda n: b"ab" * n * AT_ONCE_BYTES)), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(parts=parts, live=st.booleans())
def test_what_is_squeezed_and_unpacked_is_what_it_was(parts: list[bytes], live: bool) -> None:
    saved: list[int] = []
    body = b"".join(parts)
    squeezed = asyncio.run(read(Squeezed(Parts(parts), live=live, saved=saved.append)))
    assert gzip.decompress(squeezed) == body
    unpacked = asyncio.run(read(Unpacked(Parts([squeezed]), saved.append)))
    assert unpacked == body
    assert saved == [len(body) - len(squeezed)] * 2


@settings(max_examples=60, deadline=None)
@given(members=st.lists(st.binary(max_size=300), min_size=1, max_size=3), sizes=st.lists(st.integers(1, 40)))
def test_however_it_is_cut_it_is_unpacked(members: list[bytes], sizes: list[int]) -> None:
    packed, cut = b"".join(gzip.compress(member) for member in members), []
    for size in sizes:
        cut.append(packed[:size])
        packed = packed[size:]
    assert asyncio.run(read(Unpacked(Parts([*cut, packed]), lambda _: None))) == b"".join(members)
