"""The contract kit's checks of a head type, on separable made-up features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headstock.hookspecs import Batch, HeadType, Targets
from headstock.testing.results import Broken, Result, Run, is_json

if TYPE_CHECKING:
    import torch


def check_head_type(head_type: HeadType, *, width: int = 8, rows: int = 96, seed: int = 0) -> list[Result]:
    """Check a head type that learns from class labels on separable made-up features [rows, width]."""
    run = Run()
    toy = run("encode", lambda: _toy(head_type, width, rows, seed))
    if toy is None:
        return run.results
    features, targets = toy
    options = dict(head_type.resolve_options(width, head_type.default_options()))
    run("options", lambda: is_json(options))
    head = run("build", lambda: _seeded(lambda: head_type.build(width, targets, options), seed))
    if head is None:
        return run.results
    run("refuses one class", lambda: _refuses_one_class(head_type))
    run("loss decreases", lambda: _learns(head_type, head, features, targets))
    run("metrics", lambda: _metrics(head_type, head, features, targets))
    run("linear form", lambda: _linear(head_type, head, features))
    run("postprocess", lambda: _postprocess(head_type, head, features, targets, options))
    return run.results


def _toy(head_type: HeadType, width: int, rows: int, seed: int) -> tuple[torch.Tensor, Targets]:
    import torch

    labels = [("apple", "pear", "quince")[i % 3] for i in range(rows)]
    targets = head_type.encode(dict.fromkeys(head_type.columns, labels))
    if len(targets.values) != rows:
        raise Broken(f"encode() made {len(targets.values)} targets of {rows} rows")
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn((3, width), generator=generator)
    noise = torch.randn((rows, width), generator=generator)
    return 3.0 * centres[torch.arange(rows) % 3] + 0.7 * noise + 0.5, targets


def _seeded(build: Callable[[], Any], seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _refuses_one_class(head_type: HeadType) -> None:
    from headstock.errors import InvalidInput

    try:
        head_type.encode({column: ["same"] * 8 for column in head_type.columns})
    except InvalidInput:
        return
    raise Broken("encode() accepted eight rows of one class; expected InvalidInput")


def _learns(head_type: HeadType, head: torch.nn.Module, features: torch.Tensor, targets: Targets) -> str:
    import torch

    fit = getattr(head, "fit_input_statistics", None)
    if fit is not None:
        fit(features)
    batch = Batch(features, torch.from_numpy(targets.values))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    first = last = float(head_type.loss(head, batch).detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = head_type.loss(head, batch)
        if loss.ndim != 0:
            raise Broken(f"loss() has shape {list(loss.shape)}; expected a scalar")
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        last = float(loss.detach())
    if not last < first:
        raise Broken(f"the loss went from {first:.4g} to {last:.4g} in 60 steps on separable data")
    return f"{first:.4g} to {last:.4g}"


def _metrics(head_type: HeadType, head: torch.nn.Module, features: torch.Tensor, targets: Targets) -> str:
    outputs = _outputs(head, features)
    found = head_type.metrics(outputs, targets, 0)
    if not found or found[0].name != head_type.primary_metric:
        raise Broken(f"metrics() begins with {[m.name for m in found][:1]}; expected {head_type.primary_metric!r}")
    for metric in found:
        if not metric.low <= metric.value <= metric.high:
            raise Broken(
                f"{metric.name} is {metric.value:.4g}, outside its interval {metric.low:.4g} to {metric.high:.4g}"
            )
    if found != head_type.metrics(outputs, targets, 0):
        raise Broken("metrics() differ between two calls with one seed")
    return f"{found[0].name} {found[0].value:.3f}"


def _linear(head_type: HeadType, head: torch.nn.Module, features: torch.Tensor) -> str:
    import numpy as np

    form = head_type.linear_form(head)
    if form is None:
        return "none: the head is a graph of its own"
    if form.weight.dtype != np.float32 or form.bias.dtype != np.float32:
        raise Broken(f"linear_form() is {form.weight.dtype} and {form.bias.dtype}; expected float32")
    expected = _outputs(head, features)
    found = features.numpy() @ form.weight + form.bias
    difference = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not difference <= 1e-6:
        raise Broken(f"row @ weight + bias differs from the module by {difference:.3g}; expected at most 1e-06")
    return f"largest relative difference {difference:.2g}"


def _postprocess(
    head_type: HeadType,
    head: torch.nn.Module,
    features: torch.Tensor,
    targets: Targets,
    options: Mapping[str, Any],
) -> str:
    from headstock import postprocess

    raw = _outputs(head, features)
    spec = head_type.postprocess(targets, options)
    is_json(spec)
    answers = postprocess.apply(spec, raw)
    for tensor in postprocess.outputs(spec):
        found = answers[tensor.name].shape
        if len(found) != len(tensor.shape) or any(p not in (-1, f) for p, f in zip(tensor.shape, found, strict=True)):
            raise Broken(f"answer {tensor.name!r} is {found}; its spec promises {tensor.shape}")
    return ", ".join(answers)


def _outputs(head: torch.nn.Module, features: torch.Tensor) -> Any:
    import torch

    head.eval()
    with torch.inference_mode():
        return head(features).numpy()
