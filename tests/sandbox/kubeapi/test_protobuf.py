"""The protobuf bodies of `kubectl create`; that kubectl itself writes such is tested with kubectl."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sandbox.kubeapi.errors import ApiError
from controller.sandbox.kubeapi.protobuf import decode


def varint(number: int) -> bytes:
    """A number as protobuf writes it, negative ones as their 64-bit complement."""
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def body(kind: str, *fields: bytes, version: str = "v1") -> bytes:
    head = field(1, version) + field(2, kind)
    return b"k8s\x00" + field(1, head) + field(2, b"".join(fields)) + field(3, "") + field(4, "")


def entry(key: str, value: str | bytes) -> bytes:
    return field(1, key) + field(2, value)


META = field(1, field(1, "a") + field(2, "") + field(3, "ns") + field(8, b"") + field(11, entry("l", "1")))


def test_a_namespace_as_kubectl_writes_it() -> None:
    """Byte for byte what kubectl sends for `create namespace foo`: empty fields are written out."""
    sent = bytes.fromhex(
        "6b3873000a0f0a02763112094e616d657370616365121b0a130a03666f6f12001a0022002a0032003800420012001a020a001a002200"
    )
    assert decode(sent) == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foo"}}


def test_maps_bytes_and_metadata() -> None:
    assert decode(body("ConfigMap", META, field(2, entry("k", "v")), field(2, entry("e", "")), field(4, 1))) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "ns", "labels": {"l": "1"}},
        "data": {"k": "v", "e": ""},
        "immutable": True,
    }
    assert decode(body("Secret", META, field(2, entry("k", b"\xff\x00")), field(3, "Opaque")))["data"] == {"k": "/wA="}


def test_times_and_negative_numbers() -> None:
    metadata = field(1, "a") + field(8, field(1, 1_700_000_000)) + field(10, -5) + field(14, "x") + field(14, "y")
    assert decode(body("ServiceAccount", field(1, metadata)))["metadata"] == {
        "name": "a",
        "creationTimestamp": "2023-11-14T22:13:20Z",
        "deletionGracePeriodSeconds": -5,
        "finalizers": ["x", "y"],
    }


@pytest.mark.parametrize(
    ("target", "shown"), [(field(1, 0) + field(2, 8080), 8080), (field(1, 1) + field(2, 0) + field(3, "http"), "http")]
)
def test_a_port_by_number_or_name(target: bytes, shown: int | str) -> None:
    port = field(1, "") + field(2, "TCP") + field(3, 80) + field(4, target) + field(5, 0)
    spec = field(1, port) + field(4, "ClusterIP") + field(13, 0)
    assert decode(body("Service", META, field(2, spec)))["spec"] == {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": shown}],
        "type": "ClusterIP",
    }


@pytest.mark.parametrize(
    ("sent", "code", "text"),
    [
        (b'{"kind": "Namespace"}', 400, "does not appear to be a protobuf message"),
        (b"k8s\x00\xff", 400, "cannot be read"),
        (body("Pod", META), 415, "only read as JSON"),
        (body("Namespace", META, version="v2"), 415, "only read as JSON"),
        (body("ConfigMap", META, field(99, "lost")), 400, "field 99 of ConfigMap is not known here"),
        (body("ConfigMap", META, varint(2 << 3 | 1) + b"12345678"), 400, "wire type 1"),
        (body("ConfigMap", META, field(2, entry("k", b"\xff"))), 400, "cannot be read"),
    ],
)
def test_what_cannot_be_read_in_full_is_refused(sent: bytes, code: int, text: str) -> None:
    with pytest.raises(ApiError) as refused:
        decode(sent)
    assert refused.value.code == code
    assert text in str(refused.value)


@given(st.binary(max_size=60))
def test_no_bytes_lead_to_another_error(tail: bytes) -> None:
    try:
        found = decode(b"k8s\x00" + tail)
    except ApiError as error:
        assert error.code in {400, 415}  # noqa: PT017 - most inputs are refused, a few happen to be messages
    else:
        assert found["apiVersion"] == "v1"


@given(st.data())
def test_a_message_that_is_cut_off_is_refused(data: st.DataObject) -> None:
    whole = body("ConfigMap", META, field(2, entry("key", "value")))
    # The last four bytes are two empty fields, and the message is whole without them.
    length = data.draw(st.integers(len(b"k8s\x00"), len(whole) - 5))
    with pytest.raises(ApiError):
        decode(whole[:length])
