"""Learns trigram vectors from lines of text: two halves of one line attract, those of others repel."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from headstock_acme.ngram.module import NgramEncoder

ALPHABET = ("[PAD]", "[UNK]", *" abcdefghijklmnopqrstuvwxyz0123456789.,:;?!'-()/&%$@#+*=")
STEPS, BATCH, TEMPERATURE = 120, 64, 0.1


def pretrain(texts: Sequence[str], folder: Path, *, steps: int = STEPS, width: int = 48, seed: int = 0) -> None:
    """Write a checkpoint of family acme-ngram to `folder`; the same texts make the same bytes on one thread."""
    config = {"buckets": 4096, "hidden_size": width, "vocab_size": len(ALPHABET), "max_length": 256}
    tokenizer = alphabet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = NgramEncoder(config)
        if steps:
            _learn(encoder, tokenizer, texts, steps, random.Random(seed))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(encoder.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "acme-ngram", **config}))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Trigram vectors\n")


def alphabet() -> Tokenizer:
    """One token per character; what is not in the alphabet is `[UNK]`."""
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(ALPHABET)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return tokenizer


def _learn(encoder: NgramEncoder, tokenizer: Tokenizer, texts: Sequence[str], steps: int, order: random.Random) -> None:
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.01)
    for _ in range(steps):
        chosen = order.sample(list(texts), min(BATCH, len(texts)))
        halves = [_halves(text.split(), order) for text in chosen]
        one, other = (_features(encoder, tokenizer, [h[side] for h in halves]) for side in (0, 1))
        loss = torch.nn.functional.cross_entropy(one @ other.T / TEMPERATURE, torch.arange(len(chosen)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _halves(words: list[str], order: random.Random) -> tuple[str, str]:
    """Two random halves of the words, in their order."""
    first = sorted(order.sample(range(len(words)), max(1, len(words) // 2)))
    rest = [i for i in range(len(words)) if i not in first] or first
    return " ".join(words[i] for i in first), " ".join(words[i] for i in rest)


def _features(encoder: NgramEncoder, tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    rows = [torch.tensor(e.ids[:256]) for e in tokenizer.encode_batch(list(texts))]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return torch.nn.functional.normalize(encoder(ids, mask)["mean"], dim=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, target = map(Path, sys.argv[1:3])
    pretrain([line for line in source.read_text().splitlines() if line.strip()], target)
