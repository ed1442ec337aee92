"""Regenerate the Python code of `protos/` into `zoo/`; deterministic, so CI can demand that git sees no difference."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "zoo"

# The generated text depends on these two; another version would show as a difference in git.
PINS = {"grpcio-tools": "1.81.1", "mypy-protobuf": "5.1.0"}

# tritonclient, KServe and MLServer ship a package `inference` too, and one descriptor pool takes a symbol only once.
# A pool of its own lets this module live beside any of them in one process.
PRIVATE = ("headstock/oip/open_inference_grpc_pb2.py",)
_POOL_LINE = re.compile(r"^DESCRIPTOR = _descriptor_pool\.Default\(\)\.AddSerializedFile", re.MULTILINE)
_POOL_TEXT = "POOL = _descriptor_pool.DescriptorPool()\nDESCRIPTOR = POOL.AddSerializedFile"
_STUB_LINE = re.compile(r"^DESCRIPTOR: ", re.MULTILINE)
_STUB_TEXT = "POOL: _descriptor_pool.DescriptorPool\nDESCRIPTOR: "


def check_tools() -> None:
    """Refuse to generate with other tool versions than the ones the committed code came from."""
    wrong = {tool: version(tool) for tool, pin in PINS.items() if version(tool) != pin}
    if wrong:
        wanted = " ".join(f"{tool}=={PINS[tool]}" for tool in wrong)
        raise SystemExit(f"error: generator versions {wrong} differ from the pinned ones\ntry:   pip install {wanted}")


def generate(target: Path) -> list[Path]:
    """Write the code of every .proto under `target`; returns the files, sorted."""
    import grpc_tools
    from grpc_tools import protoc

    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
    include = Path(grpc_tools.__file__).parent / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    # Beside the interpreter: the environment need not be activated.
    tools = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={tools / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{include}", *plugins, *outputs, *sources]) != 0:
        raise SystemExit("error: protoc failed; see its message above")
    for source in sources:
        if not re.search(r"^service ", (PROTOS / source).read_text(), re.MULTILINE):
            for stub in target.glob(source.replace(".proto", "_pb2_grpc.py*")):
                stub.unlink()  # the plugin writes an empty module for a file without services
    for name in PRIVATE:
        make_private(target / name)
    return sorted(p for p in target.rglob("*") if p.is_file())


def make_private(path: Path) -> None:
    """Move one generated module, and its stub, into a descriptor pool of its own."""
    text, count = _POOL_LINE.subn(_POOL_TEXT, path.read_text())
    stub = path.with_suffix(".pyi")
    stub_text, stub_count = _STUB_LINE.subn(_STUB_TEXT, stub.read_text(), count=1)
    if count != 1 or stub_count != 1:
        raise SystemExit(f"error: {path.name} does not look as expected; protoc changed, so scripts/protos.py must too")
    path.write_text(text)
    stub_text = stub_text.replace(
        "from google.protobuf import descriptor as _descriptor\n",
        "from google.protobuf import descriptor as _descriptor\n"
        "from google.protobuf import descriptor_pool as _descriptor_pool\n",
    )
    stub.write_text(stub_text)


def stale(generated: Path, files: list[Path]) -> list[str]:
    """Names of generated files that differ from the committed ones, or are missing."""
    names = [p.relative_to(generated) for p in files]
    return [
        str(name)
        for name in names
        if not (TARGET / name).is_file() or (TARGET / name).read_bytes() != (generated / name).read_bytes()
    ]


def main() -> int:
    """Generate, or with --check only compare; exit code 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the committed code is stale")
    arguments = parser.parse_args()
    check_tools()
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder)
        files = generate(generated)
        changed = stale(generated, files)
        if not arguments.check:
            for name in changed:
                shutil.copyfile(generated / name, TARGET / name)
    for name in changed:
        print(f"{'stale' if arguments.check else 'written'}: zoo/{name}")
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
