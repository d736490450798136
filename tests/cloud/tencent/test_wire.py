"""Reading Tencent's answers: strict about what is missing, tolerant about how figures are written."""

from typing import Any

import pytest

from controller.cloud.errors import IncompleteError
from controller.cloud.tencent import wire

PRICE: dict[str, Any] = {
    "Price": {
        "InstancePrice": {"UnitPrice": 1.0, "DiscountUnitPrice": 0.88, "Discount": 100.0, "ChargeUnit": "HOUR"},
        "CloudDiskPrice": {"UnitPrice": 0.02, "DiscountUnitPrice": 0.01, "ChargeUnit": "HOUR"},
    }
}


def price_with(item: str, **changes: Any) -> dict[str, Any]:
    return {"Price": {**PRICE["Price"], item: {**PRICE["Price"][item], **changes}}}


def test_the_price_is_the_discounted_unit_price_of_instance_and_disk() -> None:
    price = wire.read(PRICE, wire.InquirePrice, action="InquirePriceRunInstances").read()
    assert (price.instance_per_hour, price.disk_per_hour) == (0.88, 0.01)
    assert price.total_per_hour == pytest.approx(0.89)


@pytest.mark.parametrize("unit", ["HOUR", "hour", "时", "小时"])
def test_the_hour_has_several_spellings(unit: str) -> None:
    answer = price_with("InstancePrice", ChargeUnit=unit)
    assert wire.read(answer, wire.InquirePrice, action="a").read().instance_per_hour == 0.88


@pytest.mark.parametrize("disk", [None, {}, {"UnitPrice": 0.0, "DiscountUnitPrice": None, "ChargeUnit": None}])
def test_a_disk_without_a_price_costs_nothing(disk: Any) -> None:
    answer = {"Price": {**PRICE["Price"], "CloudDiskPrice": disk}}
    assert wire.read(answer, wire.InquirePrice, action="a").read().disk_per_hour == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        {"Price": None},
        {},
        {"Price": {"InstancePrice": None}},
        price_with("InstancePrice", DiscountUnitPrice=None),
        price_with("InstancePrice", DiscountUnitPrice=0),
        price_with("InstancePrice", DiscountUnitPrice=-1),
        price_with("InstancePrice", DiscountUnitPrice="NaN"),
        price_with("InstancePrice", ChargeUnit="MONTH"),
        price_with("InstancePrice", ChargeUnit=None),
        price_with("CloudDiskPrice", ChargeUnit="MONTH"),
        price_with("CloudDiskPrice", DiscountUnitPrice=None),
    ],
)
def test_a_price_that_cannot_be_trusted_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(IncompleteError):
        wire.read(answer, wire.InquirePrice, action="InquirePriceRunInstances").read()


def test_figures_may_come_as_strings() -> None:
    answer = wire.read({"TotalCount": "1", "InstanceSet": []}, wire.DescribeInstances, action="a")
    assert answer.total_count == 1
    fields = {"InstanceId": "hai-a", "TotalTrafficAmount": "1000GB", "RemainingTrafficAmount": "499.5"}
    network = wire.read({"NetworkStatusSet": [fields]}, wire.NetworkStatus, action="a").network_status_set
    assert network is not None
    usage = network[0].read()
    assert usage is not None
    assert (usage.total_gb, usage.remaining_gb, usage.used_gb) == (1000.0, 499.5, 500.5)


def test_an_amount_without_a_figure_is_an_error() -> None:
    with pytest.raises(IncompleteError, match="unlimited"):
        wire.amount("unlimited")


def test_an_instance_is_read_with_all_its_oddities() -> None:
    fields: dict[str, Any] = {
        "InstanceId": "hai-a",
        "InstanceName": None,
        "InstanceState": "REINSTALLING",
        "PublicIpAddresses": None,
        "PrivateIpAddresses": ["", "10.0.0.1"],
        "LatestOperationState": "OPERATING",
        "AFieldOfNextYear": {},
    }
    found = wire.read({"TotalCount": 1, "InstanceSet": [fields]}, wire.DescribeInstances, action="a").instance_set
    assert found is not None
    one = found[0].read()
    assert (one.name, one.state, one.public_ip, one.private_ip, one.busy) == ("", "UNKNOWN", None, "10.0.0.1", True)


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"TotalCount": 1}, "InstanceSet"),
        ({"InstanceSet": []}, "TotalCount"),
        ({"TotalCount": 1, "InstanceSet": [{"InstanceState": "RUNNING"}]}, "InstanceId"),
        ({"TotalCount": 1, "InstanceSet": [{"InstanceId": "hai-a"}]}, "InstanceState"),
        ({"TotalCount": None, "InstanceSet": None, "RequestId": "r-7"}, "TotalCount"),
    ],
)
def test_a_missing_field_is_an_error_that_names_it(answer: dict[str, Any], field: str) -> None:
    with pytest.raises(IncompleteError, match=field) as caught:
        wire.read(answer, wire.DescribeInstances, action="DescribeInstances")
    assert caught.value.request_id == answer.get("RequestId", "")
