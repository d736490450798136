"""`haipool ship` as a person types it."""

from pathlib import Path

import pytest

from controller.cli import main


def ship(folder: Path, *extra: str) -> int:
    return main(["ship", "--logs", str(folder), "--region", "ap-guangzhou", "--topic", "t-1", *extra])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ship(tmp_path / "nowhere") == 1
    assert "nowhere: there is no such folder" in capsys.readouterr().err


def test_missing_credentials_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENCENTCLOUD_SECRET_ID", raising=False)
    assert ship(tmp_path) == 1
    assert "TENCENTCLOUD_SECRET_ID is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "my logs"], "is no TopicId"),
        (["--region", "Guangzhou"], "is no region"),
        (["--interval", "0"], "is not above 0"),
        (["--metrics-port", "70000"], "is not a port"),
    ],
)
def test_a_wrong_value_is_named_with_its_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        ship(tmp_path, *arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
