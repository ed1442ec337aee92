"""The contract kit's checks of a family as the server would run it: the exported graph, in company, twice."""

from __future__ import annotations

import sys
from pathlib import Path

from headstock.digest import digest_file, short
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.testing.results import NOT_TRIED, Broken, Result, Run, holds

SERVED_CHECKS = ("export", "parity", "served alone equals together", "repeatable export", "on the CPU")
"""What `check_served` reports, in order."""


def check_served(
    family: BackboneFamily, files: SourceFiles, workdir: Path, *, subject: str = "", repeat: bool = True
) -> list[Result]:
    """Export a checkpoint and hold the graph to what `headstock pull` demands; `repeat` exports it a second time."""
    from headstock.testing.exported import export_as_pulled

    run = Run(subject)
    cuda = _cuda()
    exported = run("export", lambda: export_as_pulled(family, files, workdir))
    if exported is None:
        run.unreached(SERVED_CHECKS[1:], "there is no graph")
        return run.results

    def parity() -> str:
        from headstock.backbone.parity import require_parity

        require_parity(exported.parity)
        return f"largest difference {max(p.max_error for p in exported.parity.values()):.2g}"

    def together() -> str:
        certificate = exported.certificate
        worst = certificate.detail["measured"]
        if not certificate.shared:
            raise Broken(
                f"rows move in company, by tap: {worst}; expected at most {certificate.tolerance:g}. "
                "Such a backbone is published, but never shares a batch"
            )
        return f"largest difference {certificate.measured:g} in {certificate.detail['batches']} batches"

    run("parity", parity)
    run("served alone equals together", together)
    run("repeatable export", lambda: _repeated(family, files, workdir) if repeat else f"{NOT_TRIED}not asked for")
    run("on the CPU", lambda: holds(_cuda() == cuda, "load() or forward() initialised CUDA; a family loads on the CPU"))
    return run.results


def _repeated(family: BackboneFamily, files: SourceFiles, workdir: Path) -> str:
    from headstock.testing.exported import export_only

    first = digest_file(workdir / "graph.onnx")
    again = digest_file(export_only(family, files, workdir / "again.onnx"))
    if again != first:
        raise Broken(f"two exports of one checkpoint differ: {short(first)} and {short(again)}")
    return short(first)


def _cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
