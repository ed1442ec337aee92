"""Zero-shot classification of images: classes are texts, read by the other tower, and no image is needed to train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstock.data.inputs import RawInputs
from headstock.digest import digest_bytes
from headstock.errors import InvalidInput
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.made import MadeHead, check_licences, publish_made
from headstock.heads.made import Floats, class_vectors, cosine_form
from headstock.records import Edge, Version
from headstock_multimodal.heads.towers import PLUGIN, TAP, Tower, require_same_space

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

TYPE = "image-zero-shot"
"""What such a head calls its type."""
SLOT = "{}"
"""Where a template has the class name."""
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Classes and how they are put into words."""

    classes: tuple[str, ...]
    templates: tuple[str, ...] = (TEMPLATE,)

    def __post_init__(self) -> None:
        """Raise `InvalidInput` for fewer than two classes, one named twice or empty, a template without its slot."""
        if len(self.classes) < 2:
            raise InvalidInput(f"there are {len(self.classes)} classes; expected at least 2", fix="--class NAME")
        if "" in (stripped := [name.strip() for name in self.classes]):
            raise InvalidInput(f"class {stripped.index('') + 1} has an empty name")
        if twice := [name for i, name in enumerate(self.classes) if name in self.classes[:i]]:
            raise InvalidInput(f"class {twice[0]!r} is named twice")
        if not self.templates:
            raise InvalidInput("there are no templates; expected at least one", fix=f"--template {TEMPLATE!r}")
        for template in self.templates:
            if template.count(SLOT) != 1:
                raise InvalidInput(
                    f"template {template!r} has {SLOT} {template.count(SLOT)} times; expected once, for the class",
                    fix=f"--template {TEMPLATE!r}",
                )

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts of the first class, then of the next."""
        return tuple(t.replace(SLOT, name) for name in self.classes for t in self.templates)


def make_zero_shot(
    catalogue: Catalogue,
    host: PluginHost,
    image: Tower,
    text: Tower,
    asked: ZeroShot,
    name: str,
    say: Callable[[str], None] = lambda line: None,
) -> Version:
    """Publish a classifier on the image tower's `embedding` as the next version of `name`.

    The head is linear: one vector per class, the mean direction of its prompts, times the checkpoint's logit scale. So
    it shares the image tower's passes with every other head on it. Raises `DigestMismatch` for towers of different
    spaces, `InvalidInput` for prompts that the text tower would cut, `LicenceRefused` if the policy refuses a tower.
    """
    space = require_same_space(image, text)
    for warning in check_licences(catalogue, (image, text), name):
        say(f"warning: {warning}")
    vectors = class_vectors(_encode(catalogue, text, asked.prompts), len(asked.classes))
    report = {
        "labels": list(asked.classes),
        "templates": list(asked.templates),
        "text_backbone": {"name": text.name, "digest": text.digest, "tap": TAP},
        "space": dict(space),
    }
    head = MadeHead(
        type=TYPE,
        task="zero-shot-classification",
        plugin=PLUGIN,
        standing=image,
        tap=TAP,
        form=cosine_form(vectors, float(space["logit_scale"])),
        spec={"kind": "classification", "labels": list(asked.classes)},
        report=report,
        details={
            "text_backbone": text.name,
            "templates": "; ".join(asked.templates),
            "space": space["digest"],
        },
    )
    return publish_made(
        catalogue, host, name, head, lambda digest: [Edge(digest, "trained_on_outputs_of", text.digest)]
    )


class _Prompts(RawInputs):
    """Prompts as what goes into the text tower."""

    block = 4096

    def __init__(self, prompts: Sequence[str]) -> None:
        self._prompts = prompts
        self.samples = tuple(digest_bytes(prompt.encode()) for prompt in prompts)

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """The prompts."""
        return ([self._prompts[row] for row in rows],)

    def name(self, row: int) -> str:
        """The prompt itself."""
        return f"prompt {self._prompts[row][:60]!r}"


def _encode(catalogue: Catalogue, text: Tower, prompts: Sequence[str]) -> Floats:
    """Embeddings [n, width] by the exported graph, each prompt once, ever."""
    cut = [p for p, row in zip(prompts, text.backbone.open_preprocessor().rows(prompts), strict=True) if row.truncated]
    if cut:
        raise InvalidInput(
            f"{len(cut)} prompts are longer than {text.name!r} reads, the first begins {cut[0][:60]!r}",
            fix="shorter class names or templates",
        )
    cache = FeatureCache(catalogue.settings.cache, text.digest, TAP, text.backbone.identity.preprocess)
    values = FeatureExtractor(text.backbone, TAP, cache).features(_Prompts(prompts), lambda done, total: None).values
    if isinstance(values, list):
        raise TypeError(f"this is a bug: tap {TAP!r} of {text.name!r} has positions")
    return values
