"""Who may import whom, and what the quick commands must not load.

The first half reads the source (`ast`), so that an import inside a function counts too; the second
half asks fresh interpreters.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "recipes": {"recipes"},
    "lightning_modules": {"lightning_modules", "recipes"},
    "ablations": {"ablations", "lightning_modules", "recipes"},
}
OURS = {*MAY_IMPORT, "tests"}
# recipes/yaml.py is the one file with OmegaConf; PyYAML, on which OmegaConf stands, names the line
# of a mistake there.
RECIPES_EXCEPTION = {Path("recipes/yaml.py"): {"omegaconf", "yaml"}}
IN_ONE_FILE = ("datasets", "omegaconf", "ray", "submitit", "wandb", "wandb_workspaces")
EXTRAS = {  # the optional part that a file needs
    "lightning_modules/data/huggingface.py": "hf",
    "ablations/launch/on_ray.py": "ray",
    "ablations/launch/slurm_submit.py": "slurm",
}
HEAVY = ("pytorch_lightning", "ray", "timm", "torch", "torchvision", "wandb")


class Import(NamedTuple):
    """A module that a file imports."""

    file: Path
    line: int
    module: str
    when_loaded: bool  # executed while the file itself is imported

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def sources() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    files = (file for name in MAY_IMPORT for file in sorted((ROOT / name).rglob("*.py")))
    return {module_name(file.relative_to(ROOT)): file for file in files}


def module_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path, text: str, modules: set[str]) -> Iterator[Import]:
    """Every import of a file: statements anywhere, and `import_module` with a literal name."""

    def visit(node: ast.AST, when_loaded: bool) -> Iterator[Import]:
        for name in imported(node, modules):
            yield Import(file, getattr(node, "lineno", 0), name, when_loaded)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, when_loaded)
            return
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, when_loaded and not later)

    return visit(ast.parse(text, str(file)), True)


def imported(node: ast.AST, modules: set[str]) -> list[str]:
    """What one statement imports: `from a import b` is a.b where that is our module, else a."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            whole = [f"{module}.{alias.name}" for alias in names]
            return sorted({name if name in modules else module for name in whole})
        case ast.ImportFrom(level=level) if level:
            raise AssertionError(f"line {node.lineno}: imports are absolute here")
        case ast.Call(
            func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
    return []


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.fixture(scope="module")
def found() -> list[Import]:
    modules = sources()
    names = set(modules)
    return [
        item
        for file in modules.values()
        for item in imports(file.relative_to(ROOT), file.read_text(encoding="utf-8"), names)
    ]


def test_the_reader_sees_every_kind_of_import() -> None:
    text = (
        "from typing import TYPE_CHECKING\n"
        "import os.path\n"
        "from a import b, c\n"
        "if TYPE_CHECKING:\n    import typed\n"
        "else:\n    import real\n"
        "class C:\n    import inside_class\n"
        "def f():\n    import late\n    importlib.import_module('named')\n"
    )
    seen = {(i.module, i.when_loaded) for i in imports(Path("x.py"), text, {"a.b"})}
    assert seen == {
        ("typing", True),
        ("os.path", True),
        ("a", True),
        ("a.b", True),
        ("typed", False),
        ("real", True),
        ("inside_class", True),
        ("late", False),
        ("named", False),
    }


def test_packages_import_in_one_direction(found: list[Import]) -> None:
    wrong = [
        str(item)
        for item in found
        if top(item.module) in OURS and top(item.module) not in MAY_IMPORT[item.file.parts[0]]
    ]
    assert not wrong


def test_recipes_needs_only_the_standard_library(found: list[Import]) -> None:
    wrong = [
        str(item)
        for item in found
        if item.file.parts[0] == "recipes"
        and top(item.module) not in {*sys.stdlib_module_names, "recipes"}
        and top(item.module) not in RECIPES_EXCEPTION.get(item.file, ())
    ]
    assert not wrong


def test_what_trains_knows_no_tracker(found: list[Import]) -> None:
    modules = sources()
    used = defaultdict(set)
    for item in found:
        used[module_name(item.file)].add(item.module)
    reached, ahead = set(), ["ablations.launch.worker", "lightning_modules.training"]
    while ahead:
        name = ahead.pop()
        if name in modules and name not in reached:
            reached.add(name)
            ahead += used[name]
    assert "lightning_modules.gang" in reached  # it did look
    assert not {one for one in reached if "tracking" in one or "publishing" in one}


@pytest.mark.parametrize("package", IN_ONE_FILE)
def test_some_packages_are_imported_in_one_file(found: list[Import], package: str) -> None:
    files = {str(item.file) for item in found if top(item.module) == package}
    assert len(files) <= 1, f"{package} is imported in {sorted(files)}"


def test_no_module_imports_itself_through_others(found: list[Import]) -> None:
    modules = sources()
    graph: dict[str, set[str]] = defaultdict(set)
    for item in found:
        if item.when_loaded and item.module in modules:
            graph[module_name(item.file)].add(item.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_imported_package_is_a_declared_dependency(found: list[Import]) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]

    def names(lines: list[str]) -> set[str]:
        return {canonicalize_name(Requirement(line).name) for line in lines}

    declared = names(project["dependencies"])
    extras = {
        file: names(project["optional-dependencies"][extra]) for file, extra in EXTRAS.items()
    }
    distributions = packages_distributions()
    wrong = [
        str(item)
        for item in found
        if (package := top(item.module)) not in OURS | sys.stdlib_module_names
        and not (declared | extras.get(str(item.file), set()))
        & {canonicalize_name(name) for name in distributions.get(package, [])}
    ]
    assert not wrong


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints that finds the packages but no home and no configuration."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    environment.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_recipes_loads_only_the_standard_library(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import recipes; print(*set(sys.modules) - before)"
    )
    loaded = {top(name) for name in python(code, tmp_path).split()}
    assert loaded - sys.stdlib_module_names == {"recipes"}


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "run --help",
        "dashboard --help",
        "list",
        "list components",
        "list recipes",
        "list designs",
        "list published",
        "dashboard --help",
        "replay",
        "replay resnet-rs",
        "replay resnet-rs-table-7 --format json",
    ],
)
def test_quick_commands_load_nothing_heavy(line: str, tmp_path: Path) -> None:
    code = (
        "import contextlib, io, json, sys\n"
        "from ablations.cli import main\n"
        "said = io.StringIO()\n"
        "with contextlib.redirect_stdout(said):\n"
        "    try:\n"
        f"        code = main({line.split()!r})\n"
        "    except SystemExit as end:\n"
        "        code = end.code\n"
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "print(json.dumps([code or 0, heavy, bool(said.getvalue().strip())]))\n"
    )
    assert json.loads(python(code, tmp_path)) == [0, [], True]
