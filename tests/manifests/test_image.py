"""The image and what `make` installs follow from the same two files."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.+!]*)$")


def pins(root: Path) -> dict[str, Version]:
    lines = (root / "constraints.txt").read_text().splitlines()
    matches = [(line, PIN.match(line)) for line in lines if not line.startswith("#")]
    assert all(match for _, match in matches), [line for line, match in matches if not match]
    return {canonicalize_name(match[1]): Version(match[2]) for _, match in matches if match}


def requirements(root: Path) -> Iterator[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    groups += [[r for r in group if isinstance(r, str)] for group in project["dependency-groups"].values()]
    for group in groups:
        yield from (Requirement(text) for text in group)


def test_constraints_are_versions_only_and_hold_everything_that_is_required(root: Path) -> None:
    pinned = pins(root)
    for requirement in requirements(root):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not in constraints.txt: run make constraints"
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]}: run make constraints"


def test_pip_is_new_enough_for_dependency_groups(root: Path) -> None:
    assert pins(root)["pip"] >= Version("25.1")


def test_the_image_runs_as_the_user_of_the_manifests_and_starts_the_command(root: Path) -> None:
    lines = (root / "Dockerfile").read_text().splitlines()
    final = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER 65532:65532" in final
    assert 'ENTRYPOINT ["haipool"]' in final


def test_the_image_names_no_registry_and_no_latest(root: Path) -> None:
    images = re.findall(r"^FROM (\S+)", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert images
    assert all("/" not in image and ":" in image and not image.endswith(":latest") for image in images)


def test_what_the_image_copies_is_not_ignored(root: Path) -> None:
    ignore = (root / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for line in (root / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (root / source).exists(), source
                assert source.split("/")[0] in allowed, source
