"""The DeepSpeech family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, weights_file
from headstock.digest import digest_bytes, digest_file, short
from headstock.errors import InvalidInput
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles
from headstock.records import PaddingRule, Tap, TensorSpec
from headstock_audio.deepspeech.alphabet import check_alphabet

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_audio.deepspeech.module import DeepSpeechBackbone

MAX_SECONDS = 300
"""Longest recording in one piece; time is linear in it."""

# What all of Mozilla's checkpoints share.
_PUBLISHED: dict[str, Any] = {"coefficients": 26, "context": 9, "relu_clip": 20.0, "sampling_rate": 16_000}


class DeepSpeechFamily(BackboneFamily):
    """Mozilla DeepSpeech 0.7 to 0.9: its TensorFlow checkpoints, or the converted folder of the same numbers."""

    name: ClassVar[str] = "deepspeech"
    modality: ClassVar[str] = "audio"
    padding: ClassVar[PaddingRule] = "mask"

    def recognises(self, files: SourceFiles) -> bool:
        """True for `model_type` deepspeech, or a TensorFlow checkpoint with an alphabet.txt beside it."""
        from headstock_audio.deepspeech.convert import is_checkpoint

        return files.config.get("model_type") == "deepspeech" or (not files.config and is_checkpoint(files.root))

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The network with its output layer: its labels are a tap."""
        import torch

        from headstock.checkpoint import load_strict, read_weights
        from headstock_audio.deepspeech.convert import read_tensors
        from headstock_audio.deepspeech.module import DeepSpeechBackbone

        if files.config:
            tensors = read_weights(weights_file(files.root, files.spec))
        else:
            tensors = {name: torch.tensor(value) for name, value in read_tensors(files.root).items()}
        backbone = DeepSpeechBackbone(self.architecture(files))
        load_strict(backbone, tensors, rename=lambda name: name, what=repr(files.spec))
        return backbone.eval()

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes, and the alphabet: it says what the outputs mean."""
        config = _config(files)
        hidden = config.get("hidden_size")
        if not isinstance(hidden, int) or hidden < 1:
            raise InvalidInput(f"config.json of {files.spec!r} has hidden_size {hidden!r}; expected a whole number")
        alphabet = check_alphabet(config.get("alphabet"), f"config.json of {files.spec!r}")
        published = {key: type(default)(config.get(key, default)) for key, default in _PUBLISHED.items()}
        return {"hidden_size": hidden, "alphabet": alphabet, "labels": len(alphabet), **published}

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`frames` [n, t, d] (one per 20 ms), `mean` [n, d] (over real frames), `logits` [n, t, labels + 1]."""
        backbone = cast("DeepSpeechBackbone", module)
        width = backbone.width
        return (
            Tap("frames", (-1, -1, width)),
            Tap("mean", (-1, width)),
            Tap("logits", (-1, -1, backbone.labels + 1)),
        )

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """Cepstral frames FP32 [n, t, coefficients] and mask INT64 [n, t]."""
        return (
            TensorSpec("features", "FP32", (-1, -1, cast("DeepSpeechBackbone", module).coefficients)),
            TensorSpec("attention_mask", "INT64", (-1, -1)),
        )

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """The features of Mozilla's graph, the last partial window filled up as its native client does."""
        from headstock.preprocess import PreprocessSpec
        from headstock.preprocess.audio import RESAMPLING
        from headstock.preprocess.mfcc import MfccOptions

        architecture = self.architecture(files)
        rate = architecture["sampling_rate"]
        mfcc = MfccOptions(
            sampling_rate=rate,
            coefficients=architecture["coefficients"],
            high_hz=rate / 2,
            # 32 ms and 20 ms, as Mozilla's flags have them.
            window=rate * 32 // 1000,
            hop=rate * 20 // 1000,
        )
        options = {
            "sampling_rate": rate,
            "max_seconds": MAX_SECONDS,
            "resampling": RESAMPLING,
            "mfcc": mfcc.to_json(),
        }
        return PreprocessSpec("mfcc", options, {})

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights as safetensors, and configuration.

        For a TensorFlow checkpoint both are made: they lie in the cache under the digest of what they were made from,
        so they are the same every time.
        """
        root = files.root if files.config else _converted(files.root)
        return {"weights": weights_file(root, files.spec), "config": root / "config.json"}

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`dense1` to `dense3`, `lstm`, `dense5`, `output`."""
        names = ("dense1", "dense2", "dense3", "lstm", "dense5", "output")
        return tuple(LayerGroup(name, (f"{name}.",)) for name in names)


def _config(files: SourceFiles) -> Mapping[str, Any]:
    from headstock_audio.deepspeech.convert import read_config

    if not files.config:
        return read_config(files.root)
    check_config(files.config)
    return files.config


def _converted(root: Path) -> Path:
    """The folder in the cache with the checkpoint as safetensors."""
    import shutil
    import tempfile

    from headstock.settings import Settings
    from headstock_audio.deepspeech.checkpoint import find
    from headstock_audio.deepspeech.convert import ALPHABET, convert

    parts = [root / ALPHABET, *sorted(root.glob(f"{find(root).name}.*"))]
    digest = digest_bytes("\n".join(digest_file(part) for part in parts).encode())
    folder = Settings.from_environment().cache / "deepspeech" / short(digest, 64)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and moved: another process must never see half of it.
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            convert(root, made)
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder
