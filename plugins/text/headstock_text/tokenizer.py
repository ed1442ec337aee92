"""Tokenizer files of text checkpoints, and the preprocessing spec that all text families share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headstock.checkpoint import read_json
from headstock.digest import digest_bytes, digest_file, short
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles
from headstock.settings import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from headstock.preprocess import PreprocessSpec

Legacy = Literal["wordpiece", "byte-bpe", "framed-byte-bpe", "clip-bpe"]
"""What the files that are older than tokenizer.json hold: WordPiece (`vocab.txt`), or byte-level pairs (`vocab.json`
and `merges.txt`), plain as GPT-2 has them, between `<s>` and `</s>` as RoBERTa has them, or in lower case as CLIP."""

_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def text_preprocess(
    files: SourceFiles,
    *,
    tokenizer: Path,
    inputs: Sequence[str],
    positions: int,
    vocabulary: int,
    pad_id: int | None = None,
    types: int = 2,
) -> PreprocessSpec:
    """The spec of kind `text`.

    `positions` is the longest sequence that the network has positions for, in tokens; `vocabulary` its number of
    embeddings and `types` of token types; `pad_id` what it takes for padding, if that matters to it. Raises
    `InvalidInput` for a tokenizer that makes ids beyond them.
    """
    from headstock.preprocess import PreprocessSpec

    opened = open_tokenizer(tokenizer)
    settings = read_json(files.root / "tokenizer_config.json")
    largest = max(opened.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= vocabulary:
        raise InvalidInput(
            f"the tokenizer of {files.spec!r} makes token ids up to {largest}; the network has {vocabulary} embeddings"
        )
    options = {
        "max_length": _max_length(files, settings, positions),
        "truncation": "right",
        "pad_id": _pad_id(files, settings, opened) if pad_id is None else pad_id,
        "pad_type_id": 0,
        "vocab_size": vocabulary,
        "inputs": list(inputs),
    }
    if "token_type_ids" in inputs and types != 2:
        options["type_vocab_size"] = types
    return PreprocessSpec("text", options, {"tokenizer": digest_file(tokenizer)})


def tokenizer_file(files: SourceFiles, legacy: Legacy = "wordpiece") -> Path:
    """The source's `tokenizer.json`; made from older files where there is none.

    A made file lies in the cache under the digest of what it holds, so it is the same every time. Raises
    `InvalidInput` when the older files are missing or damaged.
    """
    path = files.root / "tokenizer.json"
    if path.is_file():
        return path
    names, make = _LEGACY[legacy]
    if not all((files.root / name).is_file() for name in names):
        raise InvalidInput(f"{files.spec!r} has neither 'tokenizer.json' nor {' and '.join(map(repr, names))}")
    try:
        tokenizer = make(files.root, read_json(files.root / "tokenizer_config.json"))
    except InvalidInput:
        raise
    except Exception as error:
        # The library raises TypeError for a missing special token and bare Exception for the rest.
        kind = "WordPiece vocabulary" if legacy == "wordpiece" else "byte-level BPE"
        raise InvalidInput(f"{' and '.join(names)} is not a {kind}: {error}") from error
    return _kept(tokenizer.to_str().encode())


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json; raises `InvalidInput` for any other file."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises bare Exception for every kind of damage.
        raise InvalidInput(f"{path.name} is not a tokenizer that the tokenizers library reads: {error}") from error


def _kept(text: bytes) -> Path:
    made = Settings.from_environment().cache / "tokenizers" / short(digest_bytes(text), 64) / "tokenizer.json"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        new = made.with_name(f"{made.name}.{os.getpid()}.tmp")
        new.write_bytes(text)
        new.replace(made)
    return made


def _word_piece(root: Path, settings: Mapping[str, Any]) -> Any:
    from tokenizers import BertWordPieceTokenizer

    return BertWordPieceTokenizer(
        str(root / "vocab.txt"),
        lowercase=bool(settings.get("do_lower_case", True)),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
    )


def _byte_pairs(root: Path, settings: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pairs = models.BPE.from_file(str(root / "vocab.json"), str(root / "merges.txt"))
    tokenizer = Tokenizer(pairs)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=_prefix_space(settings))
    tokenizer.decoder = decoders.ByteLevel()
    # Only where the vocabulary has it: a new id would have no embedding.
    tokenizer.add_special_tokens([t for t in ("<|endoftext|>",) if pairs.token_to_id(t) is not None])
    return tokenizer


def _framed_byte_pairs(root: Path, settings: Mapping[str, Any]) -> Any:
    from tokenizers import AddedToken, processors

    tokenizer = _byte_pairs(root, settings)
    _require_special(tokenizer, "<s>", "</s>")
    special = [AddedToken(token, special=True, normalized=False) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    # The blank before a mask belongs to it: "a <mask>" is two tokens.
    special.append(AddedToken("<mask>", special=True, normalized=False, lstrip=True))
    tokenizer.add_special_tokens([t for t in special if tokenizer.token_to_id(t.content) is not None])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")),
        ("<s>", tokenizer.token_to_id("<s>")),
        add_prefix_space=_prefix_space(settings),
    )
    return tokenizer


def _clip_pairs(root: Path, settings: Mapping[str, Any]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    start, end = "<|startoftext|>", "<|endoftext|>"
    pairs = models.BPE.from_file(
        str(root / "vocab.json"), str(root / "merges.txt"), end_of_word_suffix="</w>", unk_token=end
    )
    tokenizer: Any = Tokenizer(pairs)
    _require_special(tokenizer, start, end)
    blanks = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), blanks, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([start, end])
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, tokenizer.token_to_id(end)),
        (start, tokenizer.token_to_id(start)),
        trim_offsets=False,
        add_prefix_space=False,
    )
    return tokenizer


def _require_special(tokenizer: Tokenizer, *tokens: str) -> None:
    for token in tokens:
        if tokenizer.token_to_id(token) is None:
            raise InvalidInput(f"vocab.json lacks the special token {token!r}")


def _prefix_space(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("add_prefix_space", False))


_LEGACY: Mapping[Legacy, tuple[tuple[str, ...], Callable[[Path, Mapping[str, Any]], Any]]] = {
    "wordpiece": (("vocab.txt",), _word_piece),
    "byte-bpe": (("vocab.json", "merges.txt"), _byte_pairs),
    "framed-byte-bpe": (("vocab.json", "merges.txt"), _framed_byte_pairs),
    "clip-bpe": (("vocab.json", "merges.txt"), _clip_pairs),
}


def _max_length(files: SourceFiles, settings: Mapping[str, Any], positions: int) -> int:
    # A sentence encoder's own limit is what it was tuned with; the tokenizer's may be 10**30 for "none".
    stated = read_json(files.root / "sentence_bert_config.json").get("max_seq_length")
    stated = stated or settings.get("model_max_length")
    return min(int(stated), positions) if isinstance(stated, (int, float)) and stated > 0 else positions


def _pad_id(files: SourceFiles, settings: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    token = settings.get("pad_token") or "[PAD]"
    content = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(str(content))
    return int(found if found is not None else files.config.get("pad_token_id") or 0)
