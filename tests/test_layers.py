"""The rules of the architecture, read from the source; the rules themselves are tested below."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    "errors",
    "options",
    "imaging",
    "networks",
    "prompts",
    "inference",
    "data",
    "training",
    "learning",
    "server",
)
"""Bottom first. A module of lib imports from its own layer and from those before it."""

WITHOUT_TORCH = (
    "lib.imaging",
    "lib.prompts.prompt",
    "lib.prompts.simulate",
    "lib.prompts.simulate3d",
    "lib.data.anatomy",
    "lib.data.phantoms",
    "lib.data.phantoms3d",
)
"""Modules and packages that must work, with all they import, where torch is not installed."""

MAIN_LINES = 150
UNSAFE_CALLS = {
    "eval",
    "exec",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "os.system",
    "pandas.read_pickle",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "torch.hub.load",
    "yaml.load",
    "yaml.unsafe_load",
}


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int | None:
    """Position in LAYERS; None for lib itself and for a package that no layer is named after."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else None


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in the file it does so."""
    tree = ast.parse(path.read_text())
    package = module_name(path, root).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def layer_violations(root: Path) -> list[str]:
    """Imports in lib that go up, and monailabel outside lib.server."""
    found = []
    for path in python_files(root / "lib"):
        module = module_name(path, root)
        own = layer_of(module)
        if own is None and module != "lib":
            found.append(f"{module}: belongs to no layer")
            continue
        for line, name in imported_modules(path, root):
            where = f"{path.relative_to(root)}:{line}"
            if name == "lib.__version__":
                continue  # below every layer: lib/__init__.py imports nothing
            if name.split(".")[0] == "lib":
                other = layer_of(name)
                if own is None or other is None or other > own:
                    found.append(f"{where}: {module} imports {name}")
            elif name.split(".")[0] == "monailabel" and not module.startswith("lib.server"):
                found.append(f"{where}: {module} imports {name}; only lib.server may")
    return found


def source_of(module: str, root: Path) -> Path | None:
    """The file of a module of lib; of ``package.name``, where name is no module, the package's."""
    path = root.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return source_of(module.rpartition(".")[0], root) if "." in module else None


def torch_violations(root: Path, modules: tuple[str, ...]) -> list[str]:
    """How each of ``modules`` comes to import torch, directly or through others of lib."""
    found = []
    for start in modules:
        inside = python_files(root.joinpath(*start.split(".")))
        waiting = [(start, start), *((module_name(p, root), start) for p in inside)]
        seen = set()
        while waiting:
            module, way = waiting.pop()
            path = source_of(module, root)
            if path is None or path in seen:
                continue
            seen.add(path)
            # Importing a.b runs a/__init__.py first.
            waiting.append((module.rpartition(".")[0], f"{way} > its package"))
            for _, name in imported_modules(path, root):
                if name.split(".")[0] == "lib":
                    waiting.append((name, f"{way} > {name}"))
                elif name.split(".")[0] in ("torch", "torchvision", "segment_anything", "monai"):
                    found.append(f"{way} > {name}")
    return found


def call_name(call: ast.Call) -> str:
    """The dotted name of what is called; empty where it is no name."""
    parts, node = [], call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def is_true(call: ast.Call, keyword: str) -> bool:
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is True
        for k in call.keywords
    )


def unsafe_calls(root: Path, *folders: str) -> list[str]:
    """Calls that run what they read: eval, pickle, torch.load without weights_only, a shell."""
    found = []
    for path in python_files(*(root / folder for folder in folders)):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = call_name(node)
            unsafe = (
                name in UNSAFE_CALLS
                or (name == "torch.load" and not is_true(node, "weights_only"))
                or (name in ("np.load", "numpy.load") and is_true(node, "allow_pickle"))
                or is_true(node, "shell")
            )
            if unsafe:
                found.append(f"{path.relative_to(root)}:{node.lineno}: {name}")
    return found


def undocumented(root: Path) -> list[str]:
    """Modules of lib, and their public functions and classes, without a docstring."""
    found = []
    for path in python_files(root / "lib"):
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None:
            found.append(f"{path.relative_to(root)}: module")
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_") and ast.get_docstring(node) is None:
                found.append(f"{path.relative_to(root)}:{node.lineno}: {node.name}")
    return found


def test_no_import_goes_up():
    assert layer_violations(ROOT) == []


def test_every_part_of_lib_belongs_to_a_layer():
    present = {path.stem for path in (ROOT / "lib").iterdir()} - {"__init__", "__pycache__"}
    assert present <= set(LAYERS)


def test_numpy_layers_reach_no_torch_in_their_source():
    assert torch_violations(ROOT, WITHOUT_TORCH) == []


def test_numpy_layers_import_no_torch_when_run():
    imports = "; ".join(f"import {module}" for module in WITHOUT_TORCH)
    code = f"import sys; {imports}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_nothing_runs_what_it_reads():
    assert unsafe_calls(ROOT, "lib", "apps", "scripts") == []


def test_public_names_have_docstrings():
    assert undocumented(ROOT) == []


def test_main_is_wiring_only():
    assert len((ROOT / "apps/samed2d/main.py").read_text().splitlines()) < MAIN_LINES


# The rules themselves, on trees that break them.


@pytest.fixture
def tree(tmp_path):
    """A small lib that keeps all rules, and a way to add files to it."""

    def add(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    add("lib/__init__.py", '"""Root."""\n')
    for package in ("imaging", "networks", "prompts", "data", "server"):
        add(f"lib/{package}/__init__.py", '"""Package."""\n')
    add("lib/errors.py", '"""Errors."""\n')
    add("lib/imaging/slice.py", '"""S."""\nimport numpy as np\nfrom lib.errors import E\n')
    add("lib/networks/net.py", '"""N."""\nimport torch\nfrom lib.imaging.slice import s\n')
    add("lib/server/host.py", '"""H."""\nimport monailabel\nfrom lib.networks import net\n')
    return add


def test_a_good_tree_passes(tree):
    root = tree("lib/imaging/other.py", '"""O."""\nfrom . import slice\n')
    tree("lib/imaging/about.py", '"""A."""\nfrom lib import __version__\n')
    assert layer_violations(root) == []
    assert torch_violations(root, ("lib.imaging",)) == []
    assert unsafe_calls(root, "lib") == []
    assert undocumented(root) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import lib.networks.net",
        "from lib.networks.net import x",
        "from lib import networks",
        "from ..networks import net",
        "from .. import networks",
        "def late():\n    from lib.server import host",
        "import monailabel.config",
        "from monailabel import config",
        "from lib.unknown import x",
    ],
)
def test_an_import_that_goes_up_is_found(tree, statement):
    root = tree("lib/imaging/bad.py", f'"""Bad."""\n{statement}\n')
    assert len(layer_violations(root)) == 1


def test_a_module_outside_the_layers_is_found(tree):
    assert layer_violations(tree("lib/helpers.py", '"""H."""\n')) == [
        "lib.helpers: belongs to no layer"
    ]


def test_torch_is_found_through_other_modules(tree):
    tree("lib/prompts/prompt.py", '"""P."""\nfrom lib.prompts import history\n')
    root = tree("lib/prompts/history.py", '"""H."""\nfrom lib.networks.net import x\n')
    assert torch_violations(root, ("lib.prompts.prompt",)) == [
        "lib.prompts.prompt > lib.prompts.history > lib.networks.net.x > torch"
    ]


def test_torch_is_found_in_the_package_of_a_module(tree):
    tree("lib/data/__init__.py", '"""D."""\nfrom torch.utils import data\n')
    root = tree("lib/data/phantoms.py", '"""P."""\n')
    assert len(torch_violations(root, ("lib.data.phantoms",))) == 1


def test_torch_is_found_in_any_module_of_a_package(tree):
    root = tree("lib/imaging/deep/inner.py", '"""I."""\nimport torch.nn as nn\n')
    assert len(torch_violations(root, ("lib.imaging",))) == 1


@pytest.mark.parametrize(
    "call",
    [
        "eval('1')",
        "exec('1')",
        "pickle.loads(b'')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
    ],
)
def test_an_unsafe_call_is_found(tree, call):
    assert len(unsafe_calls(tree("lib/imaging/bad.py", f'"""B."""\nx = {call}\n'), "lib")) == 1


@pytest.mark.parametrize(
    "call",
    [
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "yaml.safe_load(text)",
        "subprocess.run(['ls'])",
    ],
)
def test_a_safe_call_is_not_reported(tree, call):
    assert unsafe_calls(tree("lib/imaging/good.py", f'"""G."""\nx = {call}\n'), "lib") == []


def test_missing_docstrings_are_found(tree):
    tree("lib/imaging/silent.py", "x = 1\n")
    text = '"""M."""\ndef public(): ...\ndef _private(): ...\nclass Public: ...\n'
    root = tree("lib/imaging/half.py", text)
    assert undocumented(root) == [
        "lib/imaging/half.py:2: public",
        "lib/imaging/half.py:4: Public",
        "lib/imaging/silent.py: module",
    ]
