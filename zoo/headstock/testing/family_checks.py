"""The contract kit's checks of a backbone family, in torch; `served_checks` has those of the exported graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.testing.made_inputs import MadeInputs
from headstock.testing.results import NOT_TRIED, Broken, Result, Run, holds, is_json

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-5
"""Largest difference of a row alone and in company, in torch, relative to the output's scale."""

FAMILY_CHECKS = (
    "recognises",
    "load",
    "eval mode",
    "fp32",
    "strict",
    "repeatable",
    "architecture",
    "preprocess",
    "files",
    "taps",
    "alone equals together",
    "padding",
    "layer groups",
    "export inputs",
)
"""What `check_family` reports, in order."""


def check_family(family: BackboneFamily, files: SourceFiles, *, subject: str = "") -> list[Result]:
    """Check a family against one checkpoint of it; every check runs, whatever the others found.

    Inputs are made up, see `headstock.testing.made_inputs`.
    """
    run = Run(subject)
    run("recognises", lambda: holds(family.recognises(files), "recognises() is False for these files"))
    module = run("load", lambda: family.load(files))
    if module is None:
        run.unreached(FAMILY_CHECKS[2:], "load() failed")
        return run.results
    run("eval mode", lambda: holds(not module.training, "load() returned a module in training mode"))
    run("fp32", lambda: _all_fp32(module))
    run("strict", lambda: _strict(family, files))
    run("repeatable", lambda: _repeatable(family, files, module))
    run("architecture", lambda: is_json(family.architecture(files)))
    run("preprocess", lambda: _preprocess(family, files))
    run("files", lambda: _files(family, files))
    made = MadeInputs(family, files, module)
    run("taps", lambda: _taps(family, module, made))
    run("alone equals together", lambda: _isolation(family, module, made))
    run("padding", lambda: _padding(family, module, made))
    run("layer groups", lambda: _groups(family, module))
    run("export inputs", lambda: _export_inputs(family, module))
    return run.results


def _all_fp32(module: torch.nn.Module) -> None:
    import torch

    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise Broken(f"{name} is {tensor.dtype}; expected float32")


def _strict(family: BackboneFamily, files: SourceFiles) -> str:
    """A checkpoint that lacks one weight must be refused."""
    import shutil
    import tempfile
    from pathlib import Path

    from safetensors.torch import load_file, save_file

    from headstock.errors import InvalidInput

    weights = family.files(files)["weights"]
    if weights.suffix != ".safetensors" or not weights.is_relative_to(files.root):
        return f"{NOT_TRIED}the weights are not a safetensors file of the source"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "source"
        shutil.copytree(files.root, root)
        tensors = load_file(weights)
        dropped = _backbone_weight(family, files, tensors)
        del tensors[dropped]
        save_file(tensors, root / weights.relative_to(files.root))
        try:
            family.load(SourceFiles(root, files.config, files.spec))
        except InvalidInput:
            return f"refused without {dropped}"
    raise Broken(f"load() accepted a checkpoint without {dropped!r}; expected InvalidInput")


def _backbone_weight(family: BackboneFamily, files: SourceFiles, tensors: Mapping[str, Any]) -> str:
    """A weight of the file that the network has too: a family may ignore those of a task head."""
    names = list(family.load(files).state_dict())
    # Long names are deep inside the network.
    for name in sorted(tensors, key=lambda name: (-len(name), name)):
        if any(own.endswith(name) or name.endswith(own) for own in names):
            return name
    raise Broken("no weight of the file has the name of a parameter; cannot try leaving one out")


def _repeatable(family: BackboneFamily, files: SourceFiles, module: torch.nn.Module) -> None:
    again = family.load(files).state_dict()
    for name, tensor in module.state_dict().items():
        if not tensor.equal(again[name]):
            raise Broken(f"{name} differs between two loads of the same files")


def _preprocess(family: BackboneFamily, files: SourceFiles) -> None:
    from headstock.digest import digest_file

    spec = family.preprocess(files)
    is_json(spec.to_json())
    kept = family.files(files)
    for role, digest in spec.files.items():
        if role not in kept:
            raise Broken(f"preprocess() names a file {role!r} that files() does not keep")
        if digest_file(kept[role]) != digest:
            raise Broken(f"preprocess() names {digest} for {role!r}, which is not the digest of the kept file")


def _files(family: BackboneFamily, files: SourceFiles) -> None:
    kept = family.files(files)
    if "weights" not in kept:
        raise Broken(f"files() keeps {sorted(kept)}; expected 'weights' among them")
    for role, path in kept.items():
        if not path.is_file():
            raise Broken(f"files() names a {role!r} file that does not exist")


def _forward(module: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch

    with torch.inference_mode():
        outputs: dict[str, torch.Tensor] = module(**inputs)
    return outputs


def _taps(family: BackboneFamily, module: torch.nn.Module, made: MadeInputs) -> str:
    outputs = _forward(module, made.batch(3, 7, 0))
    taps = family.taps(module)
    if list(outputs) != [t.name for t in taps]:
        raise Broken(f"forward() returns {list(outputs)}; taps() promises {[t.name for t in taps]} in this order")
    for tap in taps:
        found = tuple(outputs[tap.name].shape)
        fits = len(found) == len(tap.shape) and all(p in (-1, f) for p, f in zip(tap.shape, found, strict=True))
        if not fits or found[0] != 3:
            raise Broken(f"tap {tap.name!r} is {found} for 3 rows; taps() promises {tap.shape}")
        # Denormal outputs agree with anything.
        if outputs[tap.name].abs().max() < 1e-2:
            raise Broken(f"tap {tap.name!r} is smaller than 0.01 everywhere: parity with it would prove nothing")
    return ", ".join(f"{t.name} {list(t.shape)}" for t in taps)


def _isolation(family: BackboneFamily, module: torch.nn.Module, made: MadeInputs) -> str:
    together = made.batch(4, 9, 1)
    return _compare(family, module, [({k: v[i : i + 1] for k, v in together.items()}, together, i) for i in range(4)])


def _padding(family: BackboneFamily, module: torch.nn.Module, made: MadeInputs) -> str:
    """A short row alone against the same row padded beside a longer one, the padding filled with noise."""
    if family.padding != "mask":
        return f"{NOT_TRIED}the padding rule is {family.padding!r}"
    import torch

    short = made.batch(1, 5, 2)
    long = made.batch(1, 12, 3)
    end = 5 * made.unit
    together = {}
    for name, row in short.items():
        # Noise, not zeros: what stands behind the mask must not matter at all.
        tail = torch.zeros_like(long[name][:, end:]) if name == "attention_mask" else long[name][:, end:]
        together[name] = torch.cat([torch.cat([row, tail], dim=1), long[name]])
    return _compare(family, module, [(short, together, 0), (long, together, 1)])


def _compare(
    family: BackboneFamily,
    module: torch.nn.Module,
    cases: Sequence[tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor], int]],
) -> str:
    worst, where = 0.0, ""
    for alone, together, row in cases:
        one, many = _forward(module, alone), _forward(module, together)
        for tap in family.taps(module):
            expected, found = one[tap.name][0], many[tap.name][row]
            # A tap with a free axis is compared where the row is real.
            found = found[tuple(slice(0, n) for n in expected.shape)]
            difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))
            if not difference <= worst:
                worst, where = difference, tap.name
    if not worst <= TOLERANCE:
        raise Broken(f"tap {where!r} of a row moves by {worst:.3g} in company; expected at most {TOLERANCE:g}")
    return f"largest relative difference {worst:.2g}"


def _groups(family: BackboneFamily, module: torch.nn.Module) -> str:
    groups = family.layer_groups(module)
    owners: dict[str, list[str]] = {name: [] for name, _ in module.named_parameters()}
    for group in groups:
        for name in owners:
            if name.startswith(group.prefixes):
                owners[name].append(group.name)
    for name, found in owners.items():
        if len(found) != 1:
            raise Broken(f"parameter {name!r} belongs to groups {found}; expected exactly one")
    order = list(dict.fromkeys(found[0] for found in owners.values()))
    if order != [g.name for g in groups]:
        raise Broken(
            f"groups are {[g.name for g in groups]}; parameters come in the order {order}, from input to output"
        )
    return f"{len(groups)} groups, {len(owners)} parameters"


def _export_inputs(family: BackboneFamily, module: torch.nn.Module) -> None:
    """Input names are the parameters of forward(), and axis 0 of each is the batch."""
    import inspect

    names = [spec.name for spec in family.inputs(module)]
    accepted = list(inspect.signature(module.forward).parameters)
    if names != accepted:
        raise Broken(f"inputs() are {names}; forward() takes {accepted}")
    for spec in family.inputs(module):
        if not spec.shape or spec.shape[0] != -1:
            raise Broken(f"input {spec.name!r} has shape {spec.shape}; expected -1 as its first axis")
