"""Every error code that Tencent documents for the actions in use, and what it means to the operator."""

import pytest

from controller.cloud.errors import (
    ArrearsError,
    CloudError,
    InProgressError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    SoldOutError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
    UnclearError,
)
from controller.cloud.tencent.failures import MAX_MESSAGE, error_class, failure

#: Codes that mean the same whether or not the call changes something: the cloud said no.
REFUSED: dict[type[CloudError], list[str]] = {
    SoldOutError: ["ResourceInsufficient.BundleInventoryShortage", "ResourceInsufficient", "ResourcesSoldOut"],
    ThrottledError: [
        "RequestLimitExceeded",
        "RequestLimitExceeded.UinLimitExceeded",
        "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
        "RequestLimitExceeded.IPLimitExceeded",
        "LimitExceeded.LimitedAccess",
    ],
    ArrearsError: ["FailedOperation.ArrearsAccountCannotRunInstances", "FailedOperation.ErrOwed"],
    UnauthorizedError: [
        "AuthFailure",
        "AuthFailure.InvalidAuthorization",
        "AuthFailure.InvalidSecretId",
        "AuthFailure.MFAFailure",
        "AuthFailure.SecretIdNotFound",
        "AuthFailure.SignatureExpire",
        "AuthFailure.SignatureFailure",
        "AuthFailure.TokenFailure",
        "AuthFailure.UnauthorizedOperation",
        "UnauthorizedOperation",
        "UnauthorizedOperation.GetRoleError",
        "UnauthorizedOperation.InvalidToken",
        "UnauthorizedOperation.UnauthorizedNetworkUser",
        "UnauthorizedOperation.UnauthorizedSTSOperation",
        "UnauthorizedOperation.UnauthorizedUser",
        "FailedOperation.ErrNotOpen",
        "InvalidCredential",
    ],
    NotFoundError: ["InvalidParameterValue.InstanceIdNotFound", "ResourceNotFound"],
    InProgressError: [
        "OperationDenied.InstanceOperationInProgress",
        "FailedOperation.OperateInstanceRepeatedly",
        "ResourceInUse",
    ],
    QuotaError: [
        "LimitExceeded",
        "LimitExceeded.SecurityGroupLimitExceeded",
        "LimitExceeded.VpcLimitExceeded",
    ],
    InvalidRequestError: [
        "InvalidParameter",
        "InvalidParameter.AtMostOne",
        "InvalidParameterValue",
        "InvalidParameterValue.ApplicationIdNotFound",
        "InvalidParameterValue.BundleTypeNotFound",
        "InvalidParameterValue.DiskSizeMustLargerThanApplicationMinRequiredSize",
        "InvalidParameterValue.Duplicated",
        "InvalidParameterValue.InstanceNameTooLong",
        "InvalidParameterValue.InvalidApplicationIdMalformed",
        "InvalidParameterValue.InvalidApplicationType",
        "InvalidParameterValue.InvalidChargeType",
        "InvalidParameterValue.InvalidChargeTypeAndTimeUnit",
        "InvalidParameterValue.InvalidInstanceCount",
        "InvalidParameterValue.InvalidInstanceIdMalformed",
        "InvalidParameterValue.InvalidOrder",
        "InvalidParameterValue.InvalidOrderField",
        "InvalidParameterValue.InvalidSceneIdMalformed",
        "InvalidParameterValue.RegionInvalid",
        "InvalidParameterValue.SecurityGroupNotFound",
        "InvalidParameterValue.SubnetMustCoexistWithVpc",
        "InvalidParameterValue.SubnetNotFound",
        "InvalidParameterValue.VpcNotFound",
        "FailedOperation.CannotReturn",
        "UnsupportedOperation",
        "UnsupportedOperation.CannotTerminateExpiredAndNotExpiredInstances",
        "UnsupportedOperation.NotSupportTerminatePrePaidAndPostPaid",
        "UnsupportedOperation.NotSupportToInquiryPrice",
        "UnsupportedRegion",
        "ActionOffline",
        "DryRunOperation",
        "InvalidAction",
        "MissingParameter",
        "NoSuchProduct",
        "NoSuchVersion",
        "OperationDenied",
        "UnknownParameter",
        "ClientParamsError",
    ],
}
#: Codes after which nobody knows whether the cloud acted.
OPEN = [
    "InternalError",
    "InternalError.TradeError",
    "FailedOperation",
    "FailedOperation.APITranslateError",
    "ResourceUnavailable",
    "ClientNetworkError",
    "ServerNetworkError",
    "ConnectionError",
    "JSONDecodeError",
    "KeyError",
    "AttributeError",
    "ACodeNobodyHasSeen",
    "",
]


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize(("wanted", "code"), [(wanted, code) for wanted, codes in REFUSED.items() for code in codes])
def test_a_refusal_means_the_same_for_reads_and_purchases(wanted: type[CloudError], code: str, changes: bool) -> None:
    assert error_class(code, changes=changes) is wanted


@pytest.mark.parametrize("code", OPEN)
def test_what_leaves_the_outcome_open_is_unclear_for_a_purchase_and_unavailable_for_a_read(code: str) -> None:
    assert error_class(code, changes=True) is UnclearError
    assert error_class(code, changes=False) is UnavailableError


def test_every_code_of_the_sdk_has_been_thought_of() -> None:
    from tencentcloud.hai.v20230812 import errorcodes

    codes = [value for name, value in vars(errorcodes).items() if name.isupper()]
    left_open = {code for code in codes if error_class(code, changes=True) is UnclearError}
    assert left_open == {
        "FailedOperation",
        "FailedOperation.AutoscaleManualConflict",  # of model services, which haipool does not use
        "InternalError",
        "InternalError.TradeError",
    }


def test_the_error_carries_code_and_request_id_and_says_what_to_do() -> None:
    error = failure(
        "RunInstances", "ap-beijing", code="AuthFailure.SignatureExpire", message="x", request_id="r-1", changes=True
    )
    assert isinstance(error, UnauthorizedError)
    assert (error.code, error.request_id) == ("AuthFailure.SignatureExpire", "r-1")
    assert str(error).startswith("RunInstances in ap-beijing: AuthFailure.SignatureExpire: x ")
    assert "clock of this machine" in str(error)


def test_a_page_of_html_from_a_gateway_is_cut_to_one_short_line() -> None:
    body = ("<html>\n  <h1>502</h1>" + "x" * 2000).encode()
    text = str(failure("DescribeInstances", "r", code="ServerNetworkError", message=body, changes=False))
    assert "<html> <h1>502</h1>" in text
    assert len(text) < MAX_MESSAGE + 100
    assert "\n" not in text


def test_an_answer_that_quotes_the_key_is_repeated_without_it() -> None:
    told = failure(
        "RunInstances", "ap-beijing", code="AuthFailure.SecretIdNotFound", message="no AKIDone, no s3cret here",
        changes=True, hidden=("AKIDone", "s3cret"),
    )  # fmt: skip
    assert str(told).startswith(
        "RunInstances in ap-beijing: AuthFailure.SecretIdNotFound: no (hidden), no (hidden) here"
    )
