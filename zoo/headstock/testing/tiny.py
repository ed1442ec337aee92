"""Small random checkpoints that look like the real ones on disk, for tests that need no download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

TEXTS = (
    "where is my order, it is late",
    "please refund the broken lamp",
    "thanks, great service and a good price",
    "this is awful: bad, slow and expensive",
    "the invoice for march is wrong",
    "how do i change my password?",
)
"""Texts whose words a tiny tokenizer knows by default; letters and digits spell out the rest."""

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

CARD = """---
license: apache-2.0
language: en
pipeline_tag: feature-extraction
---

# A tiny random BERT

Random weights, made by `headstock.testing`; it knows nothing.
"""

LICENCE = """                                 Apache License
                           Version 2.0, January 2004
                        http://www.apache.org/licenses/

   Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance
   with the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
"""


def make_tiny_bert(
    directory: Path,
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    texts: Sequence[str] = TEXTS,
    max_length: int = 64,
) -> Path:
    """Write a BERT checkpoint with random weights to `directory` and return it.

    Files: config.json, model.safetensors, tokenizer.json (WordPiece over the words of `texts`), tokenizer_config.json,
    sentence_bert_config.json, LICENSE, README.md. The same arguments make the same bytes. `max_length` is in tokens.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary(texts)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_length,
        # Ten times the usual: attention then looks at some tokens more than others, so a wrong mask shows.
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BertModel(config, add_pooling_layer=False)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, directory / "model.safetensors")
    _write_json(directory / "config.json", {**_plain(config.to_dict()), "architectures": ["BertModel"]})
    (directory / "tokenizer.json").write_text(_tokenizer(vocabulary), encoding="utf-8")
    _write_json(
        directory / "tokenizer_config.json",
        {
            "do_lower_case": True,
            "model_max_length": max_length,
            "pad_token": "[PAD]",
            "tokenizer_class": "BertTokenizer",
        },
    )
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    (directory / "LICENSE").write_text(LICENCE, encoding="utf-8")
    (directory / "README.md").write_text(CARD, encoding="utf-8")
    return directory


def _vocabulary(texts: Sequence[str]) -> list[str]:
    import re

    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*_SPECIAL, *words, *letters, *(f"##{c}" for c in letters), *".,:;?!'-()"]
    return list(dict.fromkeys(pieces))


def _tokenizer(vocabulary: Sequence[str]) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(_SPECIAL))
    text: str = tokenizer.to_str()
    return text


def _plain(config: dict[str, object]) -> dict[str, object]:
    # A checkpoint on disk does not say which attention kernel its writer used.
    return {k: v for k, v in config.items() if not k.startswith("_")}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
