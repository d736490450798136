"""`haipool sandbox` as a process: up, usable, and gone without a trace."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.sandbox.kubectl import find_kubectl

pytestmark = pytest.mark.processes

#: The sandbox imports and starts three processes; on a busy machine that takes a while.
START_SECONDS = 60
STOP_SECONDS = 30


class Sandbox:
    """A `haipool sandbox` that is up."""

    def __init__(self, process: subprocess.Popen[str], text: str) -> None:
        self.process = process
        self.text = text
        self.kubeconfig = Path(self._found(r"export KUBECONFIG=(\S+)"))
        self.data = self._found(r"(http://127\.0\.0\.1:\d+)/sdapi")
        self.admin = self._found(r"(http://127\.0\.0\.1:\d+)/-/queue")
        self.records = Path(self._found(r"records +(/\S+)"))
        self.cloud = self._found(r"(http://127\.0\.0\.1:\d+)/_sim/ledger")

    def _found(self, pattern: str) -> str:
        match = re.search(pattern, self.text)
        assert match, f"{pattern} is not in:\n{self.text}"
        return match[1]

    def children(self) -> list[int]:
        """Process ids of the operator and the dispatcher."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def kubectl(self, *arguments: str) -> str:
        command = [str(find_kubectl()), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@contextmanager
def sandbox(*arguments: str) -> Iterator[Sandbox]:
    """A running sandbox; at the end it is killed if the test left it."""
    command = [sys.executable, "-m", "controller.cli", "sandbox", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Sandbox(process, _welcome(process))
        finally:
            process.kill()


def _welcome(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
    assert process.stderr is not None
    raise AssertionError(f"the sandbox did not come up:\n{''.join(lines)}{process.stderr.read()}")


def _is_open(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _has_ended(pid: int) -> bool:
    """Gone, or a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_comes_up_with_the_kinds_installed_and_ctrl_c_ends_it_without_a_trace() -> None:
    with sandbox() as box:
        assert "gpupools" in box.kubectl("api-resources", "--api-group=haipool.io")
        children, urls = box.children(), (box.data, box.admin, box.cloud)
        assert len(children) == 2
        assert all(_is_open(url) for url in urls)
        box.process.send_signal(signal.SIGINT)
        assert box.process.wait(STOP_SECONDS) == 0
        assert all(_has_ended(pid) for pid in children)
        assert not any(_is_open(url) for url in urls)
        assert not box.kubeconfig.parent.exists()


def test_two_run_side_by_side_each_with_its_own_pool(tmp_path: Path) -> None:
    """Same samples in both; each buys its first server, on addresses of its own, and serves a task with it."""
    samples = Path(__file__).parents[2] / "manifests" / "samples"
    with sandbox("--deploy-seconds", "0.2") as one, sandbox("--deploy-seconds", "0.2") as two:
        for box in (one, two):
            box.kubectl("apply", "-f", str(samples / "presets.yaml"), "-f", str(samples / "demo-pool.yaml"))
        addresses = set()
        for box in (one, two):
            # The request waits in the queue until the first server is Ready.
            request = urllib.request.Request(f"{box.data}/", data=b'{"prompt": "a cat", "seconds": 0}')
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
                assert answer.headers["Content-Type"] == "image/png"
            addresses.add(box.kubectl("get", "gi", "demo-1", "-o", "jsonpath={.status.address}"))
        assert len(addresses) == 2
        for box in (one, two):
            _one_record(box.records)
        for box in (one, two):
            box.process.send_signal(signal.SIGTERM)
            assert box.process.wait(STOP_SECONDS) == 0


def _one_record(folder: Path) -> None:
    """Wait until the one task of this sandbox is recorded, as done by its one server."""
    deadline = time.monotonic() + START_SECONDS
    while not (lines := [line for file in folder.glob("*.log") for line in file.read_text().splitlines()]):
        assert time.monotonic() < deadline, "no record of the task"
        time.sleep(0.05)
    (line,) = lines
    assert json.loads(line)["data"]["server_id"] == "demo-1"


def test_when_a_process_of_it_dies_it_ends_and_tells_the_last_words(tmp_path: Path) -> None:
    with sandbox("--dir", str(tmp_path)) as box:
        victim, other = box.children()
        os.kill(victim, signal.SIGKILL)
        assert box.process.wait(STOP_SECONDS) == 1
        assert box.process.stderr is not None
        told = box.process.stderr.read()
        assert "haipool: the operator was killed by SIGKILL; the end of" in told
        assert "Traceback" not in told
        assert _has_ended(other)
        assert (tmp_path / "operator.log").stat().st_size > 0


def test_a_sandbox_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    with sandbox("--dir", str(tmp_path)) as box:
        children = box.children()
        box.process.kill()
        box.process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while not all(_has_ended(pid) for pid in children):
            assert time.monotonic() < deadline, "operator or dispatcher still runs"
            time.sleep(0.05)


def _fails(*arguments: str) -> str:
    command = [sys.executable, "-m", "controller.cli", "sandbox", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_a_taken_port_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = _fails("--port-base", str(port), "--dir", str(tmp_path))
    assert told == f"haipool: port {port} on 127.0.0.1 is taken; choose another --port-base"


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = _fails("--dir", str(tmp_path / "file" / "box"))
    assert told == f"haipool: cannot use {tmp_path}/file/box: Not a directory"
