"""A process that writes records is killed again and again: what it had written is there, once, in whole lines."""

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controller.records.dayfile import DayFile

pytestmark = pytest.mark.processes

#: Appends numbered records for ever, from a number on, and says how many are written.
SCRIPT = """
import sys, time
from pathlib import Path
from controller.api.records import Records
from controller.records.writer import RecordWriter

first, folder, seconds = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
noon = 1738324800.0
writer = RecordWriter(folder, types=("task_processing",), wall=lambda: noon)
writer.start(Records(fsync_seconds=seconds))
number, said = first, 0
while True:
    for _ in range(50):
        writer.append("task_processing", noon, {"n": number, "text": "x" * 2000})
        number += 1
    if (written := writer.counters.written["task_processing"]) != said:
        said = written
        print(first + written, flush=True)
    time.sleep(0.001)
"""


@pytest.mark.parametrize("fsync_seconds", [0, 1])
def test_killed_at_any_moment(tmp_path: Path, read: Any, fsync_seconds: int) -> None:
    rng, file, acknowledged = random.Random(7), tmp_path / "task_processing_2025-01-31.log", 0
    for _ in range(6):
        command = [sys.executable, "-c", SCRIPT, str(acknowledged), str(tmp_path), str(fsync_seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(1, 4)):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            # What was said before it died counts, too.
            for line in process.stdout.read().splitlines(keepends=True):
                acknowledged = int(line) if line.endswith("\n") else acknowledged
        # The repair that the next start does.
        repaired = DayFile(file)
        repaired.mend()
        repaired.close()
        numbers = [line["data"]["n"] for line in read(file)]
        # Some more may be in the file: written, but the process died before it could say so.
        assert numbers[:acknowledged] == list(range(acknowledged))
        assert numbers == list(range(len(numbers)))
        acknowledged = len(numbers)
    assert acknowledged > 6
