"""ONNX Runtime sessions per backbone, and the heads that run on their taps."""

from headstock_server.engine.adapted_backbone import AdaptedBackbone
from headstock_server.engine.adapter_bank import AdapterBank
from headstock_server.engine.backbone import LoadedBackbone
from headstock_server.engine.budget import MemoryBudget, MemoryReport
from headstock_server.engine.engine import Engine
from headstock_server.engine.graph_head import GraphHead
from headstock_server.engine.head_bank import HeadBank
from headstock_server.engine.model import LoadedModel
from headstock_server.engine.options import EngineOptions
from headstock_server.engine.profile import Profile
from headstock_server.engine.stem import LoadedStem, StemmedBackbone

__all__ = [
    "AdaptedBackbone",
    "AdapterBank",
    "Engine",
    "EngineOptions",
    "GraphHead",
    "HeadBank",
    "LoadedBackbone",
    "LoadedModel",
    "LoadedStem",
    "MemoryBudget",
    "MemoryReport",
    "Profile",
    "StemmedBackbone",
]
