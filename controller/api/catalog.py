"""What HAI sells and where: the bundles and the domestic regions, in the order of preference of the rules."""

from typing import Final, Literal, get_args

Bundle = Literal["XL", "XL_2X", "3XL", "3XL_2X", "4XL", "24GB_A"]
Region = Literal["ap-beijing", "ap-nanjing", "ap-guangzhou", "ap-shanghai", "ap-chongqing", "ap-chengdu"]

BUNDLES: Final[tuple[Bundle, ...]] = get_args(Bundle)
#: Domestic regions in the rules' order of preference.
REGIONS: Final[tuple[Region, ...]] = get_args(Region)

REGION_NAMES: Final[dict[str, str]] = {
    "ap-beijing": "北京",
    "ap-nanjing": "南京",
    "ap-guangzhou": "广州",
    "ap-shanghai": "上海",
    "ap-chongqing": "重庆",
    "ap-chengdu": "成都",
}
