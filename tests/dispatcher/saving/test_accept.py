"""What clients accept, by the letter of RFC 9110."""

import pytest
from multidict import CIMultiDict

from controller.dispatcher.saving.accept import Codings, codings, may_be_changed


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("", Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("identity", Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("gzip", Codings(gzip=True, prefers_gzip=True, identity=True)),
        ("X-GZip", Codings(gzip=True, prefers_gzip=True, identity=True)),
        ("gzip;q=0", Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("gzip;q=0.000", Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("gzip; Q=1.000", Codings(gzip=True, prefers_gzip=True, identity=True)),
        ("gzip;q=2", Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("gzip;q=0.5, identity", Codings(gzip=True, prefers_gzip=False, identity=True)),
        ("gzip;q=0.5, identity;q=0.5", Codings(gzip=True, prefers_gzip=True, identity=True)),
        ("gzip, identity;q=0", Codings(gzip=True, prefers_gzip=True, identity=False)),
        ("*", Codings(gzip=True, prefers_gzip=True, identity=True)),
        ("*;q=0", Codings(gzip=False, prefers_gzip=False, identity=False)),
        ("br, *;q=0", Codings(gzip=False, prefers_gzip=False, identity=False, others=("br;q=1",))),
        ("gzip;q=0, *", Codings(gzip=False, prefers_gzip=False, identity=True)),
        ("zstd, br;q=0.9, deflate;q=0", Codings(
            gzip=False, prefers_gzip=False, identity=True, others=("zstd;q=1", "br;q=0.9"))),
    ],
)  # fmt: skip
def test_codings_are_accepted_by_their_weights(header: str | None, expected: Codings) -> None:
    assert codings(CIMultiDict({} if header is None else {"Accept-Encoding": header})) == expected


def test_several_headers_are_one_list() -> None:
    headers = CIMultiDict([("Accept-Encoding", "br"), ("accept-encoding", "gzip;q=0.5")])
    assert codings(headers) == Codings(gzip=True, prefers_gzip=True, identity=True, others=("br;q=1",))


@pytest.mark.parametrize(
    ("values", "may"),
    [
        ([], True),
        (["public, max-age=60"], True),
        (["No-Transform"], False),
        (["public", "max-age=60,no-transform"], False),
        (['private="no-transform-x"'], True),
    ],
)
def test_no_transform_is_understood(values: list[str], may: bool) -> None:
    assert may_be_changed(CIMultiDict([("Cache-Control", value) for value in values])) is may
