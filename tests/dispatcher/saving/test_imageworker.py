"""The worker process by itself: it ends with whoever started it, and never on a job."""

import subprocess
import sys

import pytest

from controller.dispatcher.saving.imagejobs import HEAD, Recipe
from tests.dispatcher.saving.pictures import opened, picture

COMMAND = [sys.executable, "-m", "controller.dispatcher.saving.imageworker"]
RECIPE = Recipe("webp", 80, 1_000_000)


def run(jobs: bytes) -> bytes:
    """What a worker writes to these jobs, after which its input ends."""
    arguments = RECIPE.arguments(memory=1024**3)
    return subprocess.run([*COMMAND, *arguments], input=jobs, stdout=subprocess.PIPE, check=True, timeout=100).stdout


@pytest.mark.parametrize("jobs", [b"", b"\0", HEAD.pack(False, 10), HEAD.pack(True, 10) + b"abc"])
def test_it_ends_with_its_input(jobs: bytes) -> None:
    assert run(jobs) == b""


def test_a_job_that_cannot_be_done_is_answered_so() -> None:
    assert run(HEAD.pack(False, 5) + b"\x89PNG\r") == HEAD.pack(False, 0)


def test_a_job_is_done() -> None:
    image = picture(64)
    result = run(HEAD.pack(False, len(image)) + image)
    assert HEAD.unpack(result[: HEAD.size]) == (True, len(result) - HEAD.size)
    assert opened(result[HEAD.size :]).format == "WEBP"
