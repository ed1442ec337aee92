"""Tiny text checkpoints besides BERT's, with random weights, as transformers saves them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from headstock.testing.tiny import TEXTS, make_tiny_bert

# Ten times the usual: attention then looks at some tokens more than others, so a wrong mask shows.
_RANGE = 0.2
_PAIRS = 60


def make_tiny_roberta(
    directory: Path, *, seed: int = 0, head: bool = False, settings: Mapping[str, Any] | None = None
) -> Path:
    """A RoBERTa encoder of two layers with byte-level BPE and 62 usable positions; returns `directory`.

    `settings` are keys of its configuration to set otherwise; `head=True` saves it under a language-model head.
    """
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaModel

    vocabulary, merges = byte_pairs(("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",))
    sizes = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "type_vocab_size": 1,
        "initializer_range": _RANGE,
    }
    config = RobertaConfig(**{**sizes, **(settings or {})})
    kind: Callable[[], Any] = (
        (lambda: RobertaForMaskedLM(config)) if head else lambda: RobertaModel(config, add_pooling_layer=False)
    )
    _save(directory, kind, seed)
    _save_byte_pairs(directory, vocabulary, merges, framed=True)
    return directory


def make_tiny_distilbert(
    directory: Path, *, seed: int = 0, head: bool = False, settings: Mapping[str, Any] | None = None
) -> Path:
    """A DistilBERT encoder of two layers with the tiny BERT's tokenizer and 64 positions; returns `directory`."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, DistilBertModel

    make_tiny_bert(directory)
    known = json.loads((directory / "config.json").read_text())["vocab_size"]
    sizes: dict[str, Any] = {"vocab_size": known, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    sizes |= {"max_position_embeddings": 64, "initializer_range": _RANGE}
    config = DistilBertConfig(**{**sizes, **(settings or {})})
    kind = DistilBertForSequenceClassification if head else DistilBertModel
    _save(directory, lambda: kind(config), seed)
    return directory


def make_tiny_gpt(
    directory: Path, *, seed: int = 0, head: bool = False, settings: Mapping[str, Any] | None = None
) -> Path:
    """A GPT-2 network of two layers with byte-level BPE, no padding token and 64 positions; returns `directory`."""
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

    vocabulary, merges = byte_pairs((), ("<|endoftext|>",))
    end = vocabulary["<|endoftext|>"]
    sizes: dict[str, Any] = {"vocab_size": len(vocabulary), "n_embd": 32, "n_layer": 2, "n_head": 4}
    sizes |= {"n_positions": 64}
    sizes |= {"initializer_range": _RANGE, "bos_token_id": end, "eos_token_id": end}
    config = GPT2Config(**{**sizes, **(settings or {})})
    _save(directory, lambda: GPT2LMHeadModel(config) if head else GPT2Model(config), seed)
    _save_byte_pairs(directory, vocabulary, merges, framed=False)
    return directory


def make_legacy(directory: Path) -> Path:
    """Replace a byte-level tokenizer.json by the `vocab.json` and `merges.txt` that older checkpoints have."""
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    (directory / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]), encoding="utf-8")
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")
    (directory / "tokenizer.json").unlink()
    return directory


def byte_pairs(
    first: Sequence[str], last: Sequence[str], *, texts: Sequence[str] = TEXTS, suffix: str = ""
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary, token to id, and its merges: all bytes and the commonest pairs of letters in `texts`.

    `first` and `last` are special tokens at both ends of the ids; `suffix` marks the end of words, as CLIP does.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    words = [word for text in texts for word in text.split()]
    count = Counter(pair for word in words for pair in pairwise(word))
    merges = sorted(count, key=lambda pair: (-count[pair], pair))[:_PAIRS]
    ends = [letter + suffix for letter in alphabet] if suffix else []
    tokens = [*first, *alphabet, *ends, *("".join(pair) for pair in merges), *last]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges


def _save(directory: Path, make: Callable[[], Any], seed: int) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        with torch.no_grad():
            for parameter in network.parameters():
                # Zero biases and unit gains would hide a wrong order of operations.
                if parameter.ndim == 1:
                    parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
    network.save_pretrained(directory)


def _save_byte_pairs(
    directory: Path, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, framed: bool
) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(dict(vocabulary), list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>") if framed else ("<|endoftext|>",)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False, lstrip=t == "<mask>") for t in special])
    if framed:
        tokenizer.post_processor = processors.RobertaProcessing(
            ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), add_prefix_space=False
        )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"model_max_length": 1_000_000, **({"pad_token": "<pad>"} if framed else {"pad_token": None})}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
