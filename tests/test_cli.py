"""The `haipool` command: help that teaches, errors in one line, and nothing imported that is not called."""

import argparse
import os
import subprocess
import sys
import types

import pytest

from controller import __version__, cli
from controller.command import CommandError


def haipool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controller.cli", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_help_names_every_command_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for name, entry in cli.COMMANDS.items():
        assert f"  {name}" in text
        assert entry.summary in text
    assert "examples:" in text


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: haipool {command}")
    assert "examples:" in text


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"haipool {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "required: COMMAND"),
        (["--"], "required: COMMAND"),
        (["no-such"], "invalid choice: 'no-such'"),
        (["dispatcher"], "required: --pool"),
        (["sandbox", "--port-base", "80"], "not a port from 1024"),
        (["sandbox", "--deploy-seconds", "-1"], "not a number of seconds"),
        (["sandbox", "--speed", "T4=2"], "'T4' is none of XL"),
        (["sandbox", "--speed", "XL=fast"], "write BUNDLE=FACTOR"),
        (["demo", "--output", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_a_wrong_command_line_is_told_without_a_traceback(arguments: list[str], told: str) -> None:
    done = haipool(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_imports_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; from controller import cli\n"
        "for words in (['--help'], *([name, '--help'] for name in cli.COMMANDS)):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit: pass\n"
        "heavy = {'aiohttp', 'kopf', 'kubernetes', 'tencentcloud', 'rich', 'msgspec', 'asyncio', 'uvloop', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"


class Command(types.ModuleType):
    """A subcommand that ends as it is told."""

    DESCRIPTION = EPILOG = ""

    def __init__(self, end: BaseException | int) -> None:
        super().__init__("controller.fake")
        self.end = end

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--name")

    def run(self, options: argparse.Namespace) -> int:
        assert options.name == "x"
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


def ended(monkeypatch: pytest.MonkeyPatch, end: BaseException | int) -> int:
    monkeypatch.setitem(sys.modules, "controller.fake", Command(end))
    monkeypatch.setitem(cli.COMMANDS, "fake", cli.Entry("controller.fake", "ends as it is told"))
    return cli.main(["fake", "--name", "x"])


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_exit_status_is_the_commands(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    assert ended(monkeypatch, status) == status


@pytest.mark.parametrize(
    ("error", "status"), [(CommandError("port 80 is taken"), 1), (CommandError("port 80 is taken", status=3), 3)]
)
def test_an_expected_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: CommandError, status: int
) -> None:
    assert ended(monkeypatch, error) == status
    assert capsys.readouterr().err == "haipool: port 80 is taken\n"


def test_ctrl_c_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        ended(monkeypatch, ZeroDivisionError())


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """As `haipool ... | head -1` does it: the pipe is closed before the command writes."""
    code = (
        "import sys, types; from controller import cli\n"
        "command = types.ModuleType('controller.fake')\n"
        "command.DESCRIPTION = command.EPILOG = ''\n"
        "command.add_arguments = lambda parser: None\n"
        "command.run = lambda options: [print('line', flush=True) for _ in range(100)] and 0\n"
        "sys.modules['controller.fake'] = command\n"
        "cli.COMMANDS['fake'] = cli.Entry('controller.fake', '')\n"
        "sys.exit(cli.main(['fake']))\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"")
