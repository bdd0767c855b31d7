"""What the source never does: run text, unpickle files, ask a shell, open modes to everybody."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("recipes", "lightning_modules", "ablations")
# The one reader of pickles: it builds arrays and plain values itself and refuses all else.
PLAIN_PICKLES = "lightning_modules/data/array_pickle.py"
# The one place that imports what a user named, and the lazy names of our own packages.
IMPORTS_BY_NAME = ("recipes/outside.py", "lightning_modules/__init__.py", "ablations/__init__.py")
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNPICKLES = {"dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADERS = {"load", "loads", "Unpickler"}  # of pickle, whose `dumps` is no danger
SAFE_ONLY = {  # a call, and the keyword without which it may run what a file holds
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "read_array": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}


def faults(text: str, file: str = "x.py") -> Iterator[str]:
    """Every way in which a source file breaks these rules."""
    for node in ast.walk(ast.parse(text)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            if UNPICKLES & {name.partition(".")[0] for name in names}:
                yield f"{file}:{line} imports {', '.join(names)}"
            if names == ["pickle"] and LOADERS & {alias.name for alias in node.names}:
                yield f"{file}:{line} imports what unpickles"
        bases = map(ast.unparse, node.bases) if isinstance(node, ast.ClassDef) else ()
        if "pickle.Unpickler" in bases and file != PLAIN_PICKLES:
            yield f"{file}:{line} unpickles"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: word.value for word in node.keywords}
        if name in RUNS_TEXT | SHELLS:
            yield f"{file}:{line} calls {name}"
        back = bool(node.args) and ast.unparse(node.args[0]).startswith("pickle.dumps(")
        if name in {f"pickle.{one}" for one in LOADERS} and not back:
            yield f"{file}:{line} unpickles"
        literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
        if name.endswith("import_module") and not literal and file not in IMPORTS_BY_NAME:
            yield f"{file}:{line} imports a module by a name that is no literal"
        if not isinstance(given.get("shell", ast.Constant(False)), ast.Constant) or (
            "shell" in given and given["shell"].value is not False  # type: ignore[attr-defined]
        ):
            yield f"{file}:{line} gives {name} a shell"
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"):
            yield f"{file}:{line} calls {name}: use recipes.yaml"
        if name in SAFE_ONLY or "ckpt_path" in given:
            key, wanted = SAFE_ONLY.get(name, ("weights_only", True))
            value = given.get(key)
            if not isinstance(value, ast.Constant) or value.value is not wanted:
                yield f"{file}:{line} calls {name} without {key}={wanted}"
        if name == "OmegaConf.to_container" and ast.unparse(given.get("resolve", node)) != "False":
            yield f"{file}:{line} resolves what a file asks for"
        if name.endswith(("chmod", "umask")) and not _closes(node.args[-1:], name):
            yield f"{file}:{line} changes who may write"


def _closes(argument: list[ast.expr], name: str) -> bool:
    """Whether a mode or a mask is one that everybody can see to leave others no right to write."""
    if not argument:
        return False
    if name.endswith("umask"):
        return not isinstance(argument[0], ast.Constant) or bool(argument[0].value & 0o002)  # type: ignore[operator]
    return isinstance(argument[0], ast.Constant) and not argument[0].value & 0o002  # type: ignore[operator]


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "pickle.loads(data)",
        "from pickle import load",
        "from dill import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "trainer.fit(module, ckpt_path=path)",
        "yaml.load(text, Loader)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "importlib.import_module(name)",
        "OmegaConf.to_container(tree, resolve=True)",
        "OmegaConf.to_container(tree)",
        "path.chmod(0o777)",
        "path.chmod(mode)",
        "os.umask(0)",
    ],
)
def test_the_reader_sees_every_fault(line: str) -> None:
    assert list(faults(line))


def test_the_reader_takes_what_is_safe() -> None:
    lines = (
        "import pickle",
        "pickle.loads(pickle.dumps(value))",
        "np.load(path, allow_pickle=False)",
        "subprocess.run([word], shell=False)",
        "path.chmod(0o700)",
        "os.umask(0o077)",
        "importlib.import_module('timm')",
        "OmegaConf.to_container(tree, resolve=False)",
    )
    assert not list(faults("\n".join(lines)))


def test_the_source_runs_nothing_that_it_reads() -> None:
    files = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    found = [
        fault
        for path in files
        for fault in faults(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]
    assert not found
