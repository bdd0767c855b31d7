"""The project around the code: locks, README commands, the wheel, and what no file may hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recipes", "lightning_modules", "ablations")
# Written so that this file does not hold what it looks for.
INDEX = re.compile(
    r"(--|^)(extra-)?index[-]url|find[-]links|://[^\s\"')]*[/.]simple/", re.MULTILINE
)
MACHINE = re.compile(r"(?<![\w.~}$/-])/(?:home|opt|root|Users|work)/[\w.]")


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def files(*options: str) -> list[Path]:
    """What git tracks; with `--others`, also what it would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--exclude-standard", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = (Path(name) for name in listed.split("\0") if name)
    return sorted({name for name in names if (ROOT / name).is_file()})


def lock(name: str) -> dict[str, str]:
    """The pinned version of every distribution in a lock."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def readme(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / "readme.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (INDEX, "--extra-index" + "-url https://example.org"),
        (INDEX, "https://example.org/sim" + "ple/torch"),
        (MACHINE, "see /" + "home/someone/data"),
        (MACHINE, '"/' + 'root/.cache"'),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[str], found: str) -> None:
    assert pattern.search(found)


@pytest.mark.parametrize("pattern", [INDEX, MACHINE], ids=["index address", "machine path"])
def test_no_file_holds(pattern: re.Pattern[str]) -> None:
    wrong = []
    for name in files():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image has no addresses
        wrong += [f"{name}: {text[m.start() : m.end() + 40]!r}" for m in pattern.finditer(text)]
    assert not wrong


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) < 50


def test_run_of_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_dependencies_have_no_upper_bound() -> None:
    lines = project()["project"]["dependencies"]
    wrong = [line for line in lines if any(s.operator != ">=" for s in Requirement(line).specifier)]
    assert not wrong


@pytest.mark.parametrize(
    ("name", "extras"), [("requirements.lock", []), ("requirements-dev.lock", ["dev"])]
)
def test_lock_covers_every_dependency(name: str, extras: list[str]) -> None:
    declared = project()
    lines = [*declared["project"]["dependencies"], *declared["build-system"]["requires"]]
    for extra in extras:
        lines += declared["project"]["optional-dependencies"][extra]
    pinned = lock(name)
    for requirement in map(Requirement, lines):
        distribution = canonicalize_name(requirement.name)
        assert distribution in pinned, f"{requirement} is not in {name}: lock again"
        assert requirement.specifier.contains(pinned[distribution], prereleases=True)


def test_every_line_of_a_lock_is_a_pin_or_a_hash() -> None:
    line = re.compile(r"[a-z0-9-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert [found for found in text.splitlines() if not line.fullmatch(found)] == []


def test_the_small_lock_is_a_part_of_the_large_one() -> None:
    assert lock("requirements.lock").items() < lock("requirements-dev.lock").items()


def test_torch_is_locked_to_the_ordinary_package() -> None:
    # A "+cpu" build, or the 2.13 that an upper bound selects, cannot be imported with torchvision.
    version = Version(lock("requirements.lock")["torch"])
    assert version.local is None
    assert version >= Version("2.15")


@pytest.mark.parametrize(
    ("name", "lock_name", "job"),
    [
        ("demo", "requirements.lock", ".venv/bin/ablate"),
        ("test", "requirements-dev.lock", ".venv/bin/pytest"),
    ],
)
def test_readme_command_is_one_line(name: str, lock_name: str, job: str) -> None:
    whole = readme(name).stdout
    assert whole.count("\n") == 1
    assert f"install -r {lock_name} " in whole
    last = readme(name, "--last").stdout
    assert last.startswith(job)
    assert whole.endswith(f"&& {last}")


def test_an_unknown_readme_command_is_refused() -> None:
    done = readme("nosuch")
    assert done.returncode == 2
    assert "{demo,test}" in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built by hatchling in this environment: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_wheel_holds_exactly_the_three_packages(wheel: zipfile.ZipFile) -> None:
    held = {Path(name) for name in wheel.namelist()}
    code = {name for name in held if not name.parts[0].endswith(".dist-info")}
    assert code == {name for name in files("--others") if name.parts[0] in PACKAGES}


def test_wheel_holds_types_and_library(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    for folder in ("library", "published"):
        data = sorted((ROOT / "recipes" / folder).rglob("*.yaml"))
        assert data
        assert {path.relative_to(ROOT).as_posix() for path in data} <= names


def test_wheel_names_the_distribution_and_the_command(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert Path(wheel.filename).name.startswith("ablate_recipes-")
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "ablate = ablations.cli:main" in wheel.read(entry_points).decode()
