"""What HAI sells and where: the bundles and the domestic regions, in the order of preference of the rules."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

Bundle = Literal["XL", "XL_2X", "3XL", "3XL_2X", "4XL", "24GB_A"]
Region = Literal["ap-beijing", "ap-nanjing", "ap-guangzhou", "ap-shanghai", "ap-chongqing", "ap-chengdu"]

BUNDLES: Final[tuple[Bundle, ...]] = get_args(Bundle)
#: Domestic regions in the rules' order of preference.
REGIONS: Final[tuple[Region, ...]] = get_args(Region)

#: Sample prices in CNY per hour, made up for the sandbox and for replays. Tencent publishes no price list for HAI.
SAMPLE_PRICES: Final[Mapping[str, float]] = {
    "XL": 0.88,
    "24GB_A": 1.68,
    "3XL": 2.41,
    "XL_2X": 1.76,
    "3XL_2X": 4.82,
    "4XL": 6.60,
}

REGION_NAMES: Final[dict[str, str]] = {
    "ap-beijing": "北京",
    "ap-nanjing": "南京",
    "ap-guangzhou": "广州",
    "ap-shanghai": "上海",
    "ap-chongqing": "重庆",
    "ap-chengdu": "成都",
}
