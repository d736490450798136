"""The Tencent Cloud adapter: HAI and Cloud Monitor behind `controller.cloud.contract.Cloud`, CDN and CLS behind theirs.

Lives here: everything that knows the SDK, Tencent's error codes, field names and paging rules. May not live here:
decisions about what to buy or destroy.
"""

from controller.cloud.tencent.adapter import TencentCloud, connect
from controller.cloud.tencent.cdn import connect_cdn
from controller.cloud.tencent.settings import Settings, SettingsError

__all__ = ["Settings", "SettingsError", "TencentCloud", "connect", "connect_cdn"]
