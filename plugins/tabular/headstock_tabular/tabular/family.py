"""The tabular family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, plain_value, weights_file
from headstock.errors import InvalidInput
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles
from headstock.preprocess.table_options import TableOptions
from headstock.records import PaddingRule, Tap, TensorSpec

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_tabular.tabular.module import TabularBackbone

NETWORKS = ("ft-transformer", "mlp")
_SIZES: Mapping[str, Mapping[str, int]] = {
    "ft-transformer": {"width": 64, "layers": 3, "heads": 8, "inner": 96},
    "mlp": {"width": 128, "layers": 3, "category_width": 8},
}
_MOST = 4096


def sizes_of(network: str, settings: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of a network, the default where `settings` names none. Raises `InvalidInput` for an impossible one."""
    if network not in NETWORKS:
        raise InvalidInput(f"network {network!r} is not known; expected one of {list(NETWORKS)}")
    sizes = {key: int(plain_value(settings, key, default)) for key, default in _SIZES[network].items()}
    for key, size in sizes.items():
        if not 1 <= size <= _MOST:
            raise InvalidInput(f"{key} is {size}; expected 1 to {_MOST}")
    if network == "ft-transformer" and sizes["width"] % sizes["heads"]:
        raise InvalidInput(f"width {sizes['width']} is no multiple of heads {sizes['heads']}")
    return sizes


class TabularFamily(BackboneFamily):
    """FT-Transformer and MLP (Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data).

    Checkpoints are what `headstock pretrain` writes: config.json names the network, its sizes and the table's schema.
    Taps: `pooled`, one vector per row; of the FT-Transformer also `tokens`, one per feature behind the summary's own.
    """

    name: ClassVar[str] = "tabular"
    modality: ClassVar[str] = "tabular"
    padding: ClassVar[PaddingRule] = "equal-length"

    def recognises(self, files: SourceFiles) -> bool:
        """True for `model_type` tabular."""
        return files.config.get("model_type") == "tabular"

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The network without the heads that it was pretrained with."""
        from headstock_tabular.tabular.module import load_tabular

        return load_tabular(weights_file(files.root, files.spec), self.architecture(files), files.spec)

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Network, sizes, and how many features and categories there are; what they mean is preprocessing."""
        check_config(files.config)
        network = str(plain_value(files.config, "network", NETWORKS[0]))
        options = self._schema(files)
        return {
            "network": network,
            **sizes_of(network, files.config),
            "numeric": len(options.features),
            "cardinalities": list(options.cardinalities),
        }

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`pooled` [n, d] and, of the FT-Transformer, `tokens` [n, 1 + features, d]."""
        backbone = cast("TabularBackbone", module)
        pooled = Tap("pooled", (-1, backbone.width))
        return (Tap("tokens", (-1, backbone.tokens, backbone.width)), pooled) if backbone.tokens else (pooled,)

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """`numeric` FP32 [n, features] and `categorical` INT64 [n, columns], each where the table has such columns."""
        return cast("TabularBackbone", module).inputs

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """The table's schema."""
        from headstock.preprocess import PreprocessSpec

        return PreprocessSpec("table", self._schema(files).to_json(), {})

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights and configuration."""
        return {"weights": weights_file(files.root, files.spec), "config": files.root / "config.json"}

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`embeddings` where the network has any, `layer.0` and up, and `last` for a norm behind them."""
        names = [name for name, _ in module.named_parameters()]
        groups = [
            LayerGroup("embeddings", ("network.embeddings.",)),
            *(
                LayerGroup(f"layer.{i}", (f"network.layers.{i}.",))
                for i in range(cast("TabularBackbone", module).layers)
            ),
            LayerGroup("last", ("network.norm.",)),
        ]
        return [group for group in groups if any(name.startswith(group.prefixes) for name in names)]

    def _schema(self, files: SourceFiles) -> TableOptions:
        schema = files.config.get("schema")
        if not isinstance(schema, Mapping):
            raise InvalidInput(
                f"config.json of {files.spec!r} has no 'schema', the columns of its table",
                fix="headstock pretrain FILE.csv --out DIR writes one",
            )
        return TableOptions.parse(schema)
