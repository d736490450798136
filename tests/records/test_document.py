"""docs/records.md and its twin keep their word: every field, metric, reason and default on them is the code's."""

import re
from pathlib import Path

import msgspec
import pytest

from controller.api.records import Records
from controller.records import addresses, backlog, dayfile, folder, pump
from controller.records.counters import DROP_REASONS
from controller.records.lines import TYPES
from controller.records.metrics import RecordsCollector
from controller.records.task import TaskRecord
from controller.records.writer import RecordWriter

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "records.md", DOCS / "records.zh-CN.md"]


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page(request: pytest.FixtureRequest) -> str:
    text: str = request.param.read_text(encoding="utf-8")
    return text


def test_every_field_of_a_record_is_explained_in_order(page: str) -> None:
    table = page.partition("`data`")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(TaskRecord.__struct_fields__)


def test_every_setting_is_there_with_its_default(page: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", page, re.MULTILINE))
    defaults = {
        "fsyncSeconds": "1",
        "retentionDays": "90",
        "maxBytes": "10 GiB",
        "hashAddresses": "false",
        "serverStatusSeconds": "60",
    }
    assert {name: rows[name] for name in defaults} == defaults
    assert set(defaults) == {field.encode_name for field in msgspec.structs.fields(Records)}
    assert Records() == Records(
        fsync_seconds=1, retention_days=90, max_bytes=10 << 30, hash_addresses=False, server_status_seconds=60
    )


def test_every_metric_and_every_reason_is_explained(page: str, tmp_path: Path) -> None:
    collector = RecordsCollector(RecordWriter(tmp_path, types=("alerts",)))
    metrics = {f.name + ("_total" if f.type == "counter" else ""): f.type for f in collector.collect()}
    assert dict(re.findall(r"^\| `(haipool_\w+)` \| (\w+) \|", page, re.MULTILINE)) == metrics
    (row,) = re.findall(r"^\| `haipool_records_dropped_total`.*", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`[（ ]\(?", row.partition("reason")[2])) - {"maxBytes"} == set(DROP_REASONS)


def test_the_numbers_it_gives_are_those_of_the_code(page: str) -> None:
    assert f"{backlog.MAX_BYTES >> 20} MiB" in page
    assert f"{pump.MAX_RETRY_SECONDS:g} " in page
    assert f"{pump.LINGER_SECONDS:g} " in page
    assert f"{dayfile.FILE_MODE:04o}" in page
    assert f"{folder.FOLDER_MODE:04o}" in page
    assert addresses.KEY_FILE in page
    assert f"{addresses.HASH_CHARACTERS} " in page
    assert all(f"`{kind}_" in page for kind in TYPES)


def test_its_twin_has_the_same_commands() -> None:
    fenced = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    one, other = (fenced.findall(path.read_text(encoding="utf-8")) for path in PAGES)
    assert one == other
    assert len(one) == 8
