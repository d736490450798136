"""Clients' addresses behind a keyed hash."""

import hashlib
import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from controller.records.addresses import KEY_FILE, AddressHash, kept_key, read_key


def test_it_is_hmac_sha256_of_the_address_cut_to_64_bits() -> None:
    full = hmac.new(b"k" * 16, b"203.0.113.7", hashlib.sha256).hexdigest()
    assert AddressHash(b"k" * 16)("203.0.113.7") == full[:16]


def test_the_same_client_stays_the_same_and_another_key_gives_another_hash() -> None:
    one, again, other = AddressHash(b"k" * 16), AddressHash(b"k" * 16), AddressHash(b"o" * 16)
    assert one("203.0.113.7") == one("203.0.113.7") == again("203.0.113.7")
    assert one("203.0.113.7") != one("203.0.113.8")
    assert one("203.0.113.7") != other("203.0.113.7")


def test_a_folder_keeps_its_key_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "logs"
    key = kept_key(folder)
    assert len(key) == 64
    assert kept_key(folder) == key
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    assert kept_key(tmp_path / "other") != key


def test_processes_that_start_together_in_one_folder_have_one_key(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from controller.records.addresses import kept_key
print(kept_key(pathlib.Path(sys.argv[1])).decode())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate(timeout=60)[0] for process in processes}
    assert len(keys) == 1
    assert all(process.returncode == 0 for process in processes)


def test_a_key_that_was_being_made_when_the_machine_stopped_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / f"{KEY_FILE}.new").write_bytes(b"012")
    assert len(kept_key(tmp_path)) == 64


def test_a_key_from_a_file_is_taken_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(os.urandom(16).hex().encode() + b"\n")
    assert read_key(path) == path.read_bytes()[:32]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "0 bytes are too few, at least 16"), (b"secret\n", "6 bytes are too few"), (None, "No such file")],
)
def test_a_key_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        read_key(path)
    assert str(path) in str(error.value)


def test_a_folder_that_cannot_hold_a_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(OSError, match="logs"):
        kept_key(tmp_path / "logs")
