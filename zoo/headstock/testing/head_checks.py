"""The contract kit's checks of a head type, on made-up features that it can learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstock.hookspecs import HeadType, Targets
from headstock.testing.cases import HeadCase, HeadRows
from headstock.testing.results import NOT_TRIED, Broken, Result, Run, is_json

if TYPE_CHECKING:
    import torch

HEAD_CHECKS = (
    "encode",
    "options",
    "build",
    "refuses bad data",
    "loss decreases",
    "metrics",
    "served form",
    "postprocess",
)
"""What `check_head_type` reports, in order."""

STEPS = 60
"""Steps of training that must lower the loss."""


def check_head_type(
    head_type: HeadType, case: HeadCase | None = None, *, seed: int = 0, subject: str = ""
) -> list[Result]:
    """Check a head type on the case's data; by default on class labels of separable made-up features."""
    run = Run(subject)
    case = case or HeadCase(head_type.name)
    data = run("encode", lambda: _encoded(head_type, case, seed))
    if data is None:
        run.unreached(HEAD_CHECKS[1:], "encode() failed")
        return run.results
    rows, targets = data
    width = int(rows.features[0].shape[-1])
    options = run("options", lambda: _options(head_type, case, width))
    if options is None:
        run.unreached(HEAD_CHECKS[2:], "there are no options")
        return run.results
    head = run("build", lambda: _built(head_type, width, rows, targets, options, seed))
    if head is None:
        run.unreached(HEAD_CHECKS[3:], "there is no head")
        return run.results
    run("refuses bad data", lambda: _refuses(head_type, case))
    run("loss decreases", lambda: _learns(head_type, head, rows, targets))
    run("metrics", lambda: _metrics(head_type, head, rows, targets))
    run("served form", lambda: _served(head_type, head, rows))
    run("postprocess", lambda: _postprocess(head_type, head, rows, targets, options))
    return run.results


def _encoded(head_type: HeadType, case: HeadCase, seed: int) -> tuple[HeadRows, Targets]:
    import numpy as np

    from headstock.testing.head_rows import rows_for

    rows = (case.rows or rows_for(head_type, case.width))(np.random.default_rng([11, seed]))
    targets = head_type.encode(rows.columns)
    if head_type.reads != "any":
        if rows.contexts is None:
            raise Broken(f"the head reads {head_type.reads!r}; give its HeadCase rows with contexts")
        targets = head_type.align(targets, rows.contexts)
    if len(targets.values) != len(rows.features):
        raise Broken(f"encode() made {len(targets.values)} targets of {len(rows.features)} rows")
    return rows, targets


def _options(head_type: HeadType, case: HeadCase, width: int) -> dict[str, Any]:
    known = dict(head_type.default_options())
    if strange := sorted(set(case.options) - set(known)):
        raise Broken(f"the case sets options {strange}; default_options() has {sorted(known)}")
    options = dict(head_type.resolve_options(width, {**known, **case.options}))
    is_json(options)
    return options


def _built(
    head_type: HeadType, width: int, rows: HeadRows, targets: Targets, options: Mapping[str, Any], seed: int
) -> torch.nn.Module:
    import numpy as np
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = head_type.build(width, targets, options)
    fit = getattr(head, "fit_input_statistics", None)
    if fit is not None:
        everything = np.concatenate(rows.features) if head_type.per_position else rows.features
        fit(torch.from_numpy(everything))
    return head


def _refuses(head_type: HeadType, case: HeadCase) -> None:
    from headstock.errors import InvalidInput
    from headstock.testing.head_rows import refused_by

    columns = case.refused or refused_by(head_type)
    try:
        head_type.encode(columns)
    except InvalidInput:
        return
    shown = {role: list(values)[:2] for role, values in columns.items()}
    raise Broken(f"encode() accepted {shown}..., which can train nothing; expected InvalidInput")


def _learns(head_type: HeadType, head: torch.nn.Module, rows: HeadRows, targets: Targets) -> str:
    import torch

    parameters = [p for p in head.parameters() if p.requires_grad]
    if not parameters:
        return f"{NOT_TRIED}the head has no trainable parameters"
    batch = head_type.collate(rows.features, targets)
    optimiser = torch.optim.Adam(parameters, lr=0.02)
    first = last = float(head_type.loss(head, batch).detach())
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = head_type.loss(head, batch)
        if loss.ndim != 0:
            raise Broken(f"loss() has shape {list(loss.shape)}; expected a scalar")
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        last = float(loss.detach())
    if not last < first:
        raise Broken(f"the loss went from {first:.4g} to {last:.4g} in {STEPS} steps on data that can be learnt")
    return f"{first:.4g} to {last:.4g}"


def _metrics(head_type: HeadType, head: torch.nn.Module, rows: HeadRows, targets: Targets) -> str:
    outputs = _outputs(head_type, head, rows)
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


def _served(head_type: HeadType, head: torch.nn.Module, rows: HeadRows) -> str:
    """The form that the server runs, against the module."""
    import numpy as np

    form = head_type.linear_form(head)
    features = rows.features if head_type.per_position else [rows.features]
    if form is not None:
        if form.weight.dtype != np.float32 or form.bias.dtype != np.float32:
            raise Broken(f"linear_form() is {form.weight.dtype} and {form.bias.dtype}; expected float32")
        found, tolerance = [part @ form.weight + form.bias for part in features], 1e-6
    else:
        graph = head_type.graph_form(head)
        if graph is None:
            raise Broken("neither linear_form() nor graph_form() gives anything: no server could run the head")
        found, tolerance = _run_graph(graph, head_type, features), 1e-5
    outputs = _outputs(head_type, head, rows)
    expected = outputs if head_type.per_position else [outputs]
    scale = max(1.0, *(float(np.abs(part).max()) for part in expected))
    difference = max(float(np.abs(f - e).max()) for f, e in zip(found, expected, strict=True)) / scale
    if not difference <= tolerance:
        name = "row @ weight + bias" if form is not None else "the ONNX file"
        raise Broken(f"{name} differs from the module by {difference:.3g}; expected at most {tolerance:g}")
    return f"{'linear' if form is not None else 'graph'}, largest relative difference {difference:.2g}"


def _run_graph(graph: bytes, head_type: HeadType, features: Sequence[Any]) -> list[Any]:
    import tempfile
    from pathlib import Path

    from headstock.graph import Graph

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.onnx"
        path.write_bytes(graph)
        session = Graph(path)
        if len(session.inputs) != 1 or len(session.outputs) != 1:
            raise Broken(
                f"graph_form() has inputs {session.inputs} and outputs {session.outputs}; expected one of each"
            )
        # Of a head on single positions every row is a batch of one.
        batches = [part[None] for part in features] if head_type.per_position else features
        answers = [session.run({session.inputs[0]: batch}, session.outputs)[0] for batch in batches]
    return [answer[0] for answer in answers] if head_type.per_position else answers


def _postprocess(
    head_type: HeadType, head: torch.nn.Module, rows: HeadRows, targets: Targets, options: Mapping[str, Any]
) -> str:
    from headstock import postprocess

    spec = head_type.postprocess(targets, options)
    is_json(spec)
    if postprocess.per_position(spec) != head_type.per_position or postprocess.reads(spec) != head_type.reads:
        raise Broken(
            f"the head says per_position={head_type.per_position}, reads={head_type.reads!r}; its postprocessing "
            f"{spec.get('kind')!r} needs {postprocess.per_position(spec)} and {postprocess.reads(spec)!r}"
        )
    answers = postprocess.apply(spec, _outputs(head_type, head, rows), rows.contexts)
    for tensor in postprocess.outputs(spec):
        found = answers[tensor.name].shape
        if len(found) != len(tensor.shape) or any(p not in (-1, f) for p, f in zip(tensor.shape, found, strict=True)):
            raise Broken(f"answer {tensor.name!r} is {found}; its spec promises {tensor.shape}")
    return ", ".join(answers)


def _outputs(head_type: HeadType, head: torch.nn.Module, rows: HeadRows) -> Any:
    """Raw outputs [n, out]; of a head on single positions a list of [positions, out]."""
    import torch

    head.eval()
    with torch.inference_mode():
        if head_type.per_position:
            return [head(torch.from_numpy(row)[None])[0].numpy() for row in rows.features]
        return head(torch.from_numpy(rows.features)).numpy()
