"""The hand-written encoder against the reading of it in the simulated CLS, which was written from the same page."""

from hypothesis import given
from hypothesis import strategies as st

from controller.sandbox.cloudsim.cls import _fields, _group
from controller.shipper import protobuf

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
PAIRS = st.dictionaries(TEXT, TEXT, max_size=5)


@given(logs=st.lists(st.tuples(st.integers(0, 2**63 - 1), PAIRS), max_size=5), filename=TEXT, source=TEXT, tags=PAIRS)
def test_what_is_encoded_is_what_is_read(
    logs: list[tuple[int, dict[str, str]]], filename: str, source: str, tags: dict[str, str]
) -> None:
    encoded = [protobuf.log(*one) for one in logs]
    body = protobuf.log_group_list(encoded, filename=filename, source=source, tags=tags)
    ((field, group),) = _fields(body, {1: bytes})
    assert (field, _group(group)) == (1, (logs, filename, source, tags))


def test_the_bytes_are_those_of_the_format() -> None:
    log = protobuf.log(300, {"k": "v"})
    assert log == bytes.fromhex("08ac02 1206 0a016b 120176".replace(" ", ""))
    assert protobuf.log_group_list([log], filename="f", source="s", tags={"a": "b"}) == bytes.fromhex(
        "0a1b 0a0b08ac0212060a016b120176 1a0166 220173 2a060a0161120162".replace(" ", "")
    )


@given(st.binary(max_size=200))
def test_a_log_takes_the_room_that_is_counted(log: bytes) -> None:
    one = protobuf.log_group_list([log], filename="", source="", tags={})
    two = protobuf.log_group_list([log, log], filename="", source="", tags={})
    assert len(two) - len(one) in (protobuf.size_of(log), protobuf.size_of(log) + 1)
