"""The drawing in docs/architecture.md, checked: imports point down and heavy ones come late."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import safe_embed

SOURCE = Path(safe_embed.__file__).parent
PACKAGE = "safe_embed"

FLOORS: dict[str, int] = {
    "errors": 0,
    "files": 0,
    "records": 0,
    "secrets": 0,
    "taxonomy": 0,
    "vectors": 0,
    "datasets": 1,
    "encoders": 1,
    "metrics": 1,
    "stores": 1,
    "benchmark": 2,
    "contrast": 2,
    "curation": 2,
    "detection": 2,
    "training": 3,
    "reports": 4,
    "cli": 5,
    "__main__": 6,
}
# Which rooms may import which heavy package; everywhere else it is an error.
ROOMS: dict[str, tuple[str, ...]] = {
    "torch": (
        "encoders/sentence_transformers_encoder.py",
        "encoders/decoder_weights.py",
        "encoders/llm2vec_encoder.py",
        "encoders/lora.py",
        "encoders/pickled_weights.py",
        "encoders/torch_graph.py",
        "training/extra.py",
        "training/losses.py",
        "training/loop.py",
        "training/model.py",
    ),
    "sentence_transformers": (
        "encoders/sentence_transformers_encoder.py",
        "encoders/torch_graph.py",
    ),
    "transformers": ("encoders/decoder_weights.py", "training/model.py"),
    "peft": ("training/model.py",),
    "onnx": (
        "encoders/onnx_graph",
        "encoders/onnx_session.py",
        "encoders/export.py",
        "encoders/torch_graph.py",
    ),
    "onnxscript": ("encoders/torch_graph.py",),
    "onnxruntime": (
        "encoders/onnx_device.py",
        "encoders/onnx_export_dir.py",
        "encoders/onnx_session.py",
    ),
    "tokenizers": (
        "encoders/onnx_encoder.py",
        "encoders/onnx_export_dir.py",
        "encoders/static_encoder.py",
        "encoders/wordpiece.py",
    ),
    "huggingface_hub": ("encoders/hub.py", "datasets/hub.py"),
    "httpx2": ("datasets/", "encoders/hub.py", "encoders/openai_", "contrast/api"),
    "duckdb": ("datasets/parquet.py", "encoders/file_encoder.py"),
    "sqlite3": (
        "encoders/cache.py",
        "stores/reembedding.py",
        "stores/schema.py",
        "stores/sqlite_",
    ),
    "faiss": ("stores/fast_search.py",),
    "rich": ("reports", "cli"),
    "typer": ("cli",),
    "sklearn": ("curation", "reports/projection.py", "detection", "metrics/detection.py"),
    "altair": ("reports",),
    "vl_convert": ("reports",),
    "jinja2": ("reports",),
    "rapidfuzz": ("contrast/answers.py", "curation"),
    "ray": (),
    "fastapi": (),
    "pandas": (),
}
FILES = sorted(SOURCE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room_of(module: str) -> str:
    """`safe_embed.encoders.cache` -> `encoders`."""
    return module.split(".")[1]


def imports(path: Path, *, at_run_time: bool = False) -> list[str]:
    """Modules that a file imports anywhere in it; only those outside `if TYPE_CHECKING` or not."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    names: list[str] = []
    for node in ast.walk(tree):
        if at_run_time and id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)} has a relative import"
            assert node.module is not None
            names.append(node.module)
            if node.module == PACKAGE:  # `from safe_embed import datasets`
                names += [f"{PACKAGE}.{alias.name}" for alias in node.names]
    return names


def top_imports(path: Path) -> list[str]:
    """Modules that a file imports as soon as it is imported."""
    nodes = ast.parse(path.read_text("utf-8")).body
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]


def own_imports(path: Path) -> list[str]:
    return [name for name in imports(path) if name.startswith(f"{PACKAGE}.")]


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_point_down(path: Path) -> None:
    if path == SOURCE / "__init__.py":
        return  # the front door names everything, lazily
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert here in FLOORS, f"{here} has no floor in the drawing"
    for module in own_imports(path):
        there = room_of(module)
        if there not in (here, "errors"):  # every room may raise
            assert FLOORS[there] < FLOORS[here], f"{place(path)} imports {module}"


@pytest.mark.parametrize("package", ROOMS)
def test_heavy_packages_stay_in_their_rooms(package: str) -> None:
    users = {
        place(path)
        for path in FILES
        if any(name.split(".")[0] == package for name in imports(path))
    }
    outside = {user for user in users if not user.startswith(ROOMS[package])}
    assert not outside, f"{package} is imported in {outside}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_all_names_what_is_public_and_nothing_else(path: Path) -> None:
    dotted = place(path).removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")
    if {"torch", "safe_embed.training.loop"} & set(top_imports(path)):
        pytest.importorskip("torch", reason="needs the extra torch")
    module = importlib.import_module(f"{PACKAGE}.{dotted}" if dotted else PACKAGE)
    tree = ast.parse(path.read_text("utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    if path.name == "__init__.py" and not imports(path):
        return
    for name in module.__all__:
        assert hasattr(module, name), f"{name} is in __all__ but not in the module"
    used_elsewhere = {
        name
        for other in FILES
        if other != path
        for node in ast.walk(ast.parse(other.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == module.__name__
        for name in (alias.name for alias in node.names)
    }
    missing = (defined & used_elsewhere) - set(module.__all__)
    assert not missing, f"used from outside but not in __all__: {missing}"


def test_front_door_gives_every_name_it_promises() -> None:
    for name in safe_embed.__all__:
        assert getattr(safe_embed, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        safe_embed.nothing  # noqa: B018 - the access is the test


HEAVY_AT_START = {
    "altair",
    "faiss",
    "numpy",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "torch",
    "duckdb",
    "huggingface_hub",
}


@pytest.mark.parametrize("statement", ["import safe_embed", "import safe_embed.cli.app"])
def test_start_imports_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & HEAVY_AT_START


def test_modules_and_functions_stay_small() -> None:
    for path in FILES:
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 310, f"{place(path)} has {len(lines)} lines"
