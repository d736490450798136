"""API keys: a file of digests that tells users apart, and never shows a key."""

import hashlib
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.apikeys import ApiKeys, KeyFile, parse_keys


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = parse_keys(f"alice: {digest('a-key')}\nbob: {digest('b-key')}\nalice: {digest('a-new-key')}\n")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (["a-key"], "alice"),
        (["Bearer a-key"], "alice"),
        (["bearer  b-key "], "bob"),
        (["BEARER\tb-key"], "bob"),
        # A name may have two keys, so that one can be replaced.
        (["a-new-key"], "alice"),
        # Another header of the name may be meant for the application.
        (["Basic dXNlcjpwYXNz", "Bearer b-key"], "bob"),
        ([], None),
        ([""], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["A-key"], None),
        (["a-key, b-key"], None),
        (["Token a-key"], None),
        (["Bearer Bearer a-key"], None),
        ([digest("a-key")], None),
        (["alice"], None),
        (["\udcff"], None),
        (["ключ"], None),
        (["x" * 100_000], None),
    ],
)
def test_a_key_names_its_user_and_all_else_nobody(values: list[str], name: str | None) -> None:
    assert KEYS.name_of(values) == name


@given(st.lists(st.text(), max_size=3))
def test_any_text_at_all_is_a_key_or_nobodys(values: list[str]) -> None:
    assert KEYS.name_of(values) in (None, "alice", "bob")


def test_without_keys_nobody_has_one() -> None:
    assert not ApiKeys()
    assert ApiKeys().name_of(["a-key"]) is None


def test_comments_empty_lines_and_white_space_are_left_out() -> None:
    text = f"# the team\n\n  alice :{digest('a').upper()}  \r\n#bob: x\n"
    assert parse_keys(text).name_of(["a"]) == "alice"
    assert len(parse_keys(text).names) == 1
    assert not parse_keys("")


def test_the_same_line_twice_is_no_error() -> None:
    line = f"alice: {digest('a')}\n"
    assert len(parse_keys(line * 2).names) == 1


@pytest.mark.parametrize(
    "line",
    ["alice", "alice: s3cret-key", f"alice={digest('a')}", f"al ice: {digest('a')}", f"~alice: {digest('a')}",
     f"alice: {digest('a')}0", f"alice: {digest('a')[1:]}", f": {digest('a')}", f"{'a' * 64}: {digest('a')}",
     f"alice: {digest('a')} # comment"],
)  # fmt: skip
def test_a_line_that_does_not_fit_is_named_by_its_number_and_never_shown(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2: write NAME: SHA256, .* printf %s KEY \| sha256sum") as raised:
        parse_keys(f"bob: {digest('b')}\n{line}\n")
    assert line not in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_two_names_with_one_key_are_an_error() -> None:
    with pytest.raises(ValueError, match="line 3: bob has the same key as alice"):
        parse_keys(f"alice: {digest('a')}\n\nbob: {digest('a')}\n")


# --- the file --------------------------------------------------------------------------------------------------------


class Taken:
    """What was read of a file, last."""

    def __init__(self, path: Path) -> None:
        self.keys = ApiKeys()
        self.file = KeyFile(path, self.take)

    def take(self, keys: ApiKeys) -> None:
        self.keys = keys


def test_a_file_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"alice: {digest('a')}\n")
    taken = Taken(path)
    taken.file.load()
    assert taken.keys.name_of(["a"]) == "alice"
    path.write_text(f"alice: {digest('a')}\nbob: {digest('b')}\n")
    taken.file.refresh()
    assert taken.keys.name_of(["b"]) == "bob"


def test_a_mounted_secret_changes_by_a_link_that_points_elsewhere(tmp_path: Path) -> None:
    """The kubelet writes a new folder and moves `..data` to it; the file itself is a link through that."""
    for name, key in (("..one", "a"), ("..two", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(f"alice: {digest(key)}\n")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "keys").symlink_to("..data/keys")
    taken = Taken(tmp_path / "keys")
    taken.file.load()
    assert taken.keys.name_of(["a"]) == "alice"
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    taken.file.refresh()
    assert taken.keys.name_of(["a"]) is None
    assert taken.keys.name_of(["b"]) == "alice"


@pytest.mark.parametrize("content", [None, b"alice: s3cret-key", b"\xff\xfe"], ids=["gone", "wrong", "no-text"])
def test_what_does_not_fit_is_told_once_and_the_last_good_keys_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"alice: {digest('a')}\n")
    taken = Taken(path)
    taken.file.load()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            taken.file.refresh()
    (said,) = caplog.messages
    assert "the last good API keys stay in force" in said
    assert str(path) in said
    assert "s3cret" not in said
    assert taken.keys.name_of(["a"]) == "alice"
    path.write_text(f"bob: {digest('b')}\n")
    taken.file.refresh()
    assert taken.keys.name_of(["b"]) == "bob"


@pytest.mark.parametrize("content", [None, b"alice", b"\xff\xfe"], ids=["gone", "wrong", "no-text"])
def test_at_the_start_a_file_must_fit(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^API keys {path}: "):
        Taken(path).file.load()


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(ValueError, match="has more than 16777216 bytes"):
        Taken(path).file.load()
