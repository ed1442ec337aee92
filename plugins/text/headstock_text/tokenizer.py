"""Tokenizer files of text checkpoints, and the preprocessing spec that all text families share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.checkpoint import read_json
from headstock.digest import digest_bytes, digest_file, short
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles
from headstock.settings import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from headstock.preprocess import PreprocessSpec


def text_preprocess(files: SourceFiles, *, inputs: Sequence[str], positions: int, vocabulary: int) -> PreprocessSpec:
    """The spec of kind `text`.

    `positions` is the longest sequence that the network has positions for, in tokens; `vocabulary` its number of
    embeddings. Raises `InvalidInput` for a tokenizer that makes ids beyond them.
    """
    from headstock.preprocess import PreprocessSpec

    path = tokenizer_file(files)
    tokenizer = _open(path)
    settings = read_json(files.root / "tokenizer_config.json")
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= vocabulary:
        raise InvalidInput(
            f"the tokenizer of {files.spec!r} makes token ids up to {largest}; the network has {vocabulary} embeddings"
        )
    options = {
        "max_length": _max_length(files, settings, positions),
        "truncation": "right",
        "pad_id": _pad_id(files, settings, tokenizer),
        "pad_type_id": 0,
        "vocab_size": vocabulary,
        "inputs": list(inputs),
    }
    return PreprocessSpec("text", options, {"tokenizer": digest_file(path)})


def tokenizer_file(files: SourceFiles) -> Path:
    """The source's `tokenizer.json`; made from `vocab.txt` for checkpoints that are older than the format.

    A made file lies in the cache under the digest of what it was made from, so it is the same every time.
    """
    path = files.root / "tokenizer.json"
    if path.is_file():
        return path
    vocabulary = files.root / "vocab.txt"
    if not vocabulary.is_file():
        raise InvalidInput(f"{files.spec!r} has neither 'tokenizer.json' nor 'vocab.txt'")
    text = _word_piece(vocabulary, read_json(files.root / "tokenizer_config.json")).encode()
    made = Settings.from_environment().cache / "tokenizers" / short(digest_bytes(text), 64) / "tokenizer.json"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        new = made.with_name(f"{made.name}.{os.getpid()}.tmp")
        new.write_bytes(text)
        new.replace(made)
    return made


def _word_piece(vocabulary: Path, settings: dict[str, Any]) -> str:
    from tokenizers import BertWordPieceTokenizer

    try:
        tokenizer = BertWordPieceTokenizer(
            str(vocabulary),
            lowercase=bool(settings.get("do_lower_case", True)),
            handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
            strip_accents=settings.get("strip_accents"),
        )
    except Exception as error:
        # The library raises TypeError for a missing special token and bare Exception for the rest.
        raise InvalidInput(f"{vocabulary.name} is not a WordPiece vocabulary: {error}") from error
    text: str = tokenizer.to_str()
    return text


def _open(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises bare Exception for every kind of damage.
        raise InvalidInput(f"{path.name} is not a tokenizer that the tokenizers library reads: {error}") from error


def _max_length(files: SourceFiles, settings: dict[str, Any], positions: int) -> int:
    # A sentence encoder's own limit is what it was tuned with; the tokenizer's may be 10**30 for "none".
    stated = read_json(files.root / "sentence_bert_config.json").get("max_seq_length")
    stated = stated or settings.get("model_max_length")
    return min(int(stated), positions) if isinstance(stated, (int, float)) and stated > 0 else positions


def _pad_id(files: SourceFiles, settings: dict[str, Any], tokenizer: Tokenizer) -> int:
    token = settings.get("pad_token", "[PAD]")
    content = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(str(content))
    return int(found if found is not None else files.config.get("pad_token_id") or 0)
