"""What each device asks of ONNX Runtime: execution providers and their options, as a pure function of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headstock.errors import FailedPrecondition

Device = Literal["cpu", "cuda", "tensorrt"]
Binding = Literal["off", "direct", "staged"]
Provider = tuple[str, dict[str, str]]

PROVIDER: Mapping[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""The provider that must take a device's graphs."""

_INSTALL = {
    "cuda": "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'headstock[gpu]', with CUDA and cuDNN of its "
    "version; or --device cpu",
    "tensorrt": "install 'headstock[gpu]' without onnxruntime beside it, and TensorRT's libraries; or --device cuda",
}


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes of one input that an engine is built for."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """How a graph uses its device."""

    gpu_memory: int | None = None
    """Bytes that a session's arena on a GPU may take; None for no limit. Libraries take some beside it."""
    cuda_graphs: bool = False
    """Let passes of repeated shapes be captured and replayed."""
    engine_cache: Path | None = None
    """Folder that keeps TensorRT's engines; None builds them at every start."""
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)
    """Shapes that TensorRT builds its engine for, by input with axes that vary; all of them or none."""
    shared_arena: bool = False
    """Take memory from one arena of the process instead of one per session; CPU only."""
    binding: Binding | None = None
    """IO binding: `off`; `direct`, from the caller's arrays; `staged`, from page-locked buffers. None: `staged` on a
    GPU, `off` on a CPU."""

    def bound(self, device: Device) -> Binding:
        """The binding that is used on `device`."""
        return self.binding or ("off" if device == "cpu" else "staged")


def providers(device: Device, options: DeviceOptions) -> list[Provider]:
    """Providers for a session in order of preference; the first one is `PROVIDER[device]`."""
    cpu: Provider = (PROVIDER["cpu"], {})
    if device == "cpu":
        return [cpu]
    cuda: Provider = (PROVIDER["cuda"], _cuda(options))
    if device == "cuda":
        return [cuda, cpu]
    return [(PROVIDER["tensorrt"], _tensorrt(options)), cuda, cpu]


def require_provider(device: Device, offered: Sequence[str]) -> None:
    """Raise `FailedPrecondition` unless ONNX Runtime offers the device's provider, with what to install."""
    if PROVIDER[device] not in offered:
        raise FailedPrecondition(
            f"device {device!r} was asked for but ONNX Runtime offers only {list(offered)}",
            fix=_INSTALL.get(device, "pip install 'headstock[serve]'"),
        )


def _cuda(options: DeviceOptions) -> dict[str, str]:
    chosen = {
        "device_id": "0",
        # The default doubles the arena whenever it grows.
        "arena_extend_strategy": "kSameAsRequested",
        # The default tries every algorithm for every new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        # FP32 means FP32: the default rounds the factors of products to 10 bits.
        "use_tf32": "0",
    }
    if options.gpu_memory is not None:
        chosen["gpu_mem_limit"] = str(options.gpu_memory)
    if options.cuda_graphs:
        chosen["enable_cuda_graph"] = "1"
    return chosen


def _tensorrt(options: DeviceOptions) -> dict[str, str]:
    chosen = {"device_id": "0"}
    if options.gpu_memory is not None:
        chosen["trt_max_workspace_size"] = str(options.gpu_memory)
    if options.engine_cache is not None:
        folder = str(options.engine_cache)
        chosen |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
    # Without ranges an engine is built again for every shape outside those seen, which takes tens of seconds.
    if options.shapes:
        for bound in ("least", "best", "most"):
            key = {"least": "min", "best": "opt", "most": "max"}[bound]
            chosen[f"trt_profile_{key}_shapes"] = ",".join(
                f"{name}:{'x'.join(map(str, getattr(found, bound)))}" for name, found in options.shapes.items()
            )
    return chosen
