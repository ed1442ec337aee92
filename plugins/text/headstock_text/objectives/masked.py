"""Masked language modelling: hide words and guess them from the others (Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import Batch, Objective, Studied, Terms, View
from headstock.preprocess import Row
from headstock_text.objectives.passages import cut

if TYPE_CHECKING:
    import torch

    from headstock.data.inputs import RawInputs
    from headstock.preprocess.text import TextPreprocessor

_UNASKED = -1


class MaskedLanguage(Objective):
    """BERT's own: of the tokens that are asked for, 80 % are hidden, 10 % become another, and 10 % stay.

    Which ones is drawn anew every epoch (Liu et al. 2019, RoBERTa). Texts that are longer than the backbone reads are
    cut into several, so the whole of them is learned from.
    """

    name: ClassVar[str] = "mlm"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "tokens"
    figure: ClassVar[str] = "masked_accuracy"

    def default_options(self) -> Mapping[str, Any]:
        """`masked`: share of a text's tokens that are asked for; `hidden` and `swapped`: which shares of these become
        the mask, and a random token."""
        return {"masked": 0.15, "hidden": 0.8, "swapped": 0.1}

    def pieces(self, studied: Studied, inputs: RawInputs) -> tuple[RawInputs, Sequence[int]]:
        """Passages that the backbone reads as a whole."""
        passages = cut(studied.preprocessor, inputs)
        return passages, passages.owners

    def build(self, studied: Studied, options: Mapping[str, Any]) -> torch.nn.Module:
        """A fresh guesser over the backbone's own table of tokens.

        Raises `Unsupported` for a backbone without one or a tokenizer without a mask, `InvalidInput` for shares.
        """
        from headstock_text.objectives.guesser import Guesser

        masked, hidden, swapped = (float(options[name]) for name in ("masked", "hidden", "swapped"))
        if not 0 < masked < 1 or not (hidden >= 0 and swapped >= 0 and hidden + swapped <= 1):
            raise InvalidInput(
                f"options masked={masked}, hidden={hidden}, swapped={swapped} are no shares; expected masked between "
                "0 and 1, and at most 1 for the two others together",
                fix="--option masked=0.15",
            )
        mask_token(studied)
        vocabulary = studied.family.vocabulary(studied.module)
        if vocabulary is None:
            raise TypeError("this is a bug: a family with a mask has a vocabulary")
        table = dict(studied.module.named_parameters())[vocabulary.embedding]
        return Guesser(studied.tap.width, table)

    def view(
        self, studied: Studied, rows: Sequence[Row], options: Mapping[str, Any], random: np.random.Generator
    ) -> View:
        """The rows with words hidden; targets are the tokens that stood there, -1 elsewhere."""
        mask, special = mask_token(studied), np.array(sorted(_reader(studied).special_tokens.values()))
        vocabulary = int(studied.preprocessor.spec.options["vocab_size"])
        others = np.setdiff1d(np.arange(vocabulary), special)
        seen, targets = [], []
        for row in rows:
            ids = row.tensors["input_ids"]
            asked = _drawn(~np.isin(ids, special), float(options["masked"]), random)
            fate = random.random(len(ids))
            changed = ids.copy()
            hidden = asked & (fate < options["hidden"])
            swapped = asked & ~hidden & (fate < options["hidden"] + options["swapped"])
            changed[hidden] = mask
            changed[swapped] = random.choice(others, int(swapped.sum()))
            seen.append(Row({**row.tensors, "input_ids": changed}, row.length, row.truncated))
            targets.append(np.where(asked, ids, _UNASKED))
        return View(seen, targets)

    def terms(self, head: torch.nn.Module, batch: Batch, options: Mapping[str, Any]) -> Terms:
        """Cross-entropy of each asked token, and whether it is the likeliest, summed per row."""
        import torch

        asked = batch.targets != _UNASKED
        # Only what is asked for meets the table: over all positions the logits would take most of the memory.
        logits, truth = head(batch.features[asked]), batch.targets[asked]
        losses = torch.nn.functional.cross_entropy(logits, truth, reduction="none")
        owners = asked.nonzero()[:, 0]
        empty = torch.zeros(len(batch.targets), dtype=losses.dtype)
        right = (logits.detach().argmax(dim=-1) == truth).to(losses.dtype)
        return Terms(
            empty.index_add(0, owners, losses),
            empty.index_add(0, owners, right),
            asked.sum(dim=1).to(losses.dtype),
        )


def mask_token(studied: Studied) -> int:
    """The id of what stands for a hidden word; raises `Unsupported` where there is none."""
    vocabulary = studied.family.vocabulary(studied.module)
    if vocabulary is None:
        raise Unsupported(
            f"family {studied.family.name!r} does not read both ways, so it cannot guess hidden words",
            fix="a backbone of family bert, roberta or distilbert",
        )
    special = _reader(studied).special_tokens
    found = [special[mask] for mask in vocabulary.masks if mask in special]
    if not found:
        raise Unsupported(
            f"the backbone's tokenizer has none of {list(vocabulary.masks)} to stand for a hidden word; its special "
            f"tokens are {sorted(special)}"
        )
    return found[0]


def _drawn(free: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Which of the `free` positions are asked for: a share of them, and at least one where there is any."""
    asked = free & (random.random(len(free)) < share)
    places = np.flatnonzero(free)
    if len(places) and not asked.any():
        asked[random.choice(places)] = True
    return asked


def _reader(studied: Studied) -> TextPreprocessor:
    from headstock.preprocess.text import TextPreprocessor

    if not isinstance(studied.preprocessor, TextPreprocessor):
        raise Unsupported(f"the backbone reads {studied.preprocessor.spec.kind}; expected text")
    return studied.preprocessor
