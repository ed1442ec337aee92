"""Text to token ids and back into padded batches: the `text` preprocessing, on the tokenizers library alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

# The server owns the threads: a tokeniser that starts its own pool fights the graph for the same cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Encoding, Tokenizer

from headstock.errors import Corrupt, InvalidInput
from headstock.preprocess.spec import Array, PreprocessSpec, Row
from headstock.records import TensorSpec

MAX_CHARACTERS = 100_000
"""Longest sample that is tokenised at all: the tokeniser reads every character before it cuts, at up to 1 us each."""

_OPTIONS = ("inputs", "max_length", "pad_id", "pad_type_id", "truncation", "vocab_size")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LEAST = {"max_length": 1, "vocab_size": 1, "pad_id": 0, "pad_type_id": 0, "type_vocab_size": 1}
_OPTIONAL = {"type_vocab_size": 2}


class TextPreprocessor:
    """The `text` kind: options `max_length`, `truncation`, `pad_id`, `pad_type_id`, `vocab_size`, `inputs`, and
    `type_vocab_size` where the backbone has not two token types.

    Rows hold INT64 arrays of shape [length], one per name in `inputs`. Thread-safe.
    """

    spec: PreprocessSpec

    def __init__(self, spec: PreprocessSpec, files: Mapping[str, Path]) -> None:
        """Open the tokeniser `files["tokenizer"]`. Raises `InvalidInput` for a bad spec, `Corrupt` for a bad file."""
        self.spec = spec
        options = _checked_options(spec.options)
        self._max_length: int = options["max_length"]
        # What each input may hold: a value out of range makes the graph fail for the whole batch.
        self._limits = {
            "input_ids": options["vocab_size"],
            "attention_mask": 2,
            "token_type_ids": options["type_vocab_size"],
        }
        self._pads = {
            "input_ids": options["pad_id"],
            "attention_mask": 0,
            "token_type_ids": options["pad_type_id"],
        }
        self._inputs: tuple[str, ...] = tuple(options["inputs"])
        self._optional = {"token_type_ids"} & set(self._inputs)
        self._tokenizer = _open_tokenizer(files, self._max_length, options["vocab_size"])
        # Rows share read-only slices of these: most masks are all ones and most token types all zeros.
        self._ones = np.ones(self._max_length, np.int64)
        self._zeros = np.zeros(self._max_length, np.int64)
        self._ones.flags.writeable = self._zeros.flags.writeable = False

    @property
    def raw_input(self) -> TensorSpec:
        """`text` BYTES [-1], UTF-8."""
        return TensorSpec("text", "BYTES", (-1,))

    @property
    def tensor_inputs(self) -> tuple[TensorSpec, ...]:
        """`input_ids` and `attention_mask` INT64 [-1, -1]; `token_type_ids` is optional and so not listed."""
        return tuple(TensorSpec(n, "INT64", (-1, -1)) for n in self._inputs if n != "token_type_ids")

    @property
    def special_tokens(self) -> dict[str, int]:
        """Tokens that are no part of any text, such as those for padding and hidden words, with their ids."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: number for number, token in added.items() if token.special}

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        """One row per text, cut at `max_length` tokens. Raises `InvalidInput` naming the sample's index."""
        texts = [_text(sample, index) for index, sample in enumerate(raw)]
        if not texts:
            return []
        # The fast way does not keep offsets.
        return self._rows(self._tokenizer.encode_batch_fast(texts))

    def rows_with_text(self, raw: Sequence[Any]) -> list[Row]:
        """`rows` with `extra`, see `TextReader`; costs a little more."""
        texts = [_text(sample, index) for index, sample in enumerate(raw)]
        encodings = self._tokenizer.encode_batch(texts)
        rows = self._rows(encodings)
        for row, text, encoding in zip(rows, texts, encodings, strict=True):
            row.extra = self._places(text, encoding, 0)
        return rows

    def rows_of_pairs(self, questions: Sequence[Any], contexts: Sequence[Any]) -> list[Row]:
        """One row per question and context, with `extra` of the context, whose end is cut where it is too long.

        Raises `InvalidInput` naming the sample's index, also for a question that leaves the context no room.
        """
        room = self._max_length - self._pairs.num_special_tokens_to_add(is_pair=True)
        rows = []
        for index, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            asked, about = _text(question, index), _text(context, index)
            tokens = len(self._tokenizer.encode(asked, add_special_tokens=False).ids)
            if tokens >= room:
                raise InvalidInput(
                    f"question {index} has {tokens} tokens or more and leaves its context no room; "
                    f"expected fewer than {room}"
                )
            encoding = self._pairs.encode(asked, about)
            (row,) = self._rows([encoding])
            if "token_type_ids" in self._inputs:
                types = np.array(encoding.type_ids, np.int64)
                row.tensors["token_type_ids"] = np.minimum(types, self._limits["token_type_ids"] - 1)
            row.extra = self._places(about, encoding, 1)
            rows.append(row)
        return rows

    def rows_from_tensors(self, tensors: Mapping[str, Array]) -> list[Row]:
        """One row per first-axis slice of `input_ids`, `attention_mask` [, `token_type_ids`], INT64 [n, len].

        Padding to the right of a row's last 1 is stripped. Raises `InvalidInput` naming the tensor or the row.
        """
        self._check_tensors(tensors)
        ids, mask = tensors["input_ids"], tensors["attention_mask"]
        types = tensors.get("token_type_ids")
        lengths = self._own_lengths(mask)
        if max(lengths, default=0) > self._max_length:
            row = next(row for row, length in enumerate(lengths) if length > self._max_length)
            raise InvalidInput(
                f"row {row} has {lengths[row]} tokens; this backbone takes at most {self._max_length}",
                fix="cut the row, or send 'text', which is cut for you",
            )
        rows = []
        for index, length in enumerate(lengths):
            tensors_of_row = {"input_ids": ids[index, :length], "attention_mask": mask[index, :length]}
            if "token_type_ids" in self._inputs:
                tensors_of_row["token_type_ids"] = self._zeros[:length] if types is None else types[index, :length]
            rows.append(Row(tensors_of_row, length))
        return rows

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """`inputs` as INT64 [len(rows), longest row]."""
        lengths = [row.length for row in rows]
        longest = max(lengths)
        if min(lengths) == longest:
            shape = (len(rows), longest)
            return {name: np.concatenate([row.tensors[name] for row in rows]).reshape(shape) for name in self._inputs}
        # One masked assignment per input instead of one slice assignment per row and input.
        filled = np.arange(longest) < np.array(lengths)[:, None]
        batch = {}
        for name in self._inputs:
            padded = np.full(filled.shape, self._pads[name], np.int64)
            padded[filled] = np.concatenate([row.tensors[name] for row in rows])
            batch[name] = padded
        return batch

    def __repr__(self) -> str:
        return f"TextPreprocessor(inputs={self._inputs}, max_length={self._max_length})"

    @cached_property
    def _pairs(self) -> Tokenizer:
        # Truncation is a setting of the tokeniser; of a pair only the second text may be cut.
        copy = Tokenizer.from_str(self._tokenizer.to_str())
        copy.no_padding()
        copy.enable_truncation(self._max_length, strategy="only_second", direction="right")
        return copy

    def _rows(self, encodings: Sequence[Encoding]) -> list[Row]:
        rows = []
        for index, encoding in enumerate(encodings):
            ids = np.array(encoding.ids, np.int64)
            length = len(ids)
            if length == 0:
                raise InvalidInput(f"text {index} has no tokens; expected at least one character that is not a space")
            # `overflowing` copies what was cut, so it is asked for only where something can have been cut.
            truncated = length == self._max_length and bool(encoding.overflowing)
            tensors = {"input_ids": ids, "attention_mask": self._ones[:length]}
            if "token_type_ids" in self._inputs:
                tensors["token_type_ids"] = self._zeros[:length]
            rows.append(Row(tensors, length, truncated))
        return rows

    def _places(self, text: str, encoding: Encoding, sequence: int) -> dict[str, Any]:
        """`Row.extra` for the encoding's text number `sequence`."""
        # Without a pre-tokeniser the whole text would be one word; then every token is one.
        known = encoding.word_ids if self._tokenizer.pre_tokenizer is not None else range(len(encoding.ids))
        words = [
            word if of == sequence and word is not None else -1
            for word, of in zip(known, encoding.sequence_ids, strict=True)
        ]
        offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        return {"text": text, "offsets": offsets, "words": np.array(words, np.int32)}

    @staticmethod
    def _own_lengths(mask: Array) -> list[int]:
        """Index of each row's last 1 plus 1."""
        width = mask.shape[1]
        # On every request's way, and most have one row and no padding.
        if mask[:, -1].all():
            return [width] * len(mask)
        lengths = width - np.argmax(mask[:, ::-1], axis=1)
        empty = np.flatnonzero(mask[np.arange(len(mask)), lengths - 1] == 0)
        if empty.size:
            raise InvalidInput(f"row {empty[0]} of 'attention_mask' is all zeros; expected at least one 1")
        found: list[int] = lengths.tolist()
        return found

    def _check_tensors(self, tensors: Mapping[str, Array]) -> None:
        if set(self._inputs) - tensors.keys() not in (set(), self._optional) or tensors.keys() - set(self._inputs):
            raise InvalidInput(
                f"inputs {sorted(tensors)} do not fit; expected {[s.name for s in self.tensor_inputs]}"
                + (" and optionally 'token_type_ids'" if "token_type_ids" in self._inputs else "")
            )
        shape = tensors["input_ids"].shape
        for name, tensor in tensors.items():
            if tensor.dtype != np.int64:
                raise InvalidInput(f"input {name!r} has dtype {tensor.dtype}; expected int64 (INT64)")
            if tensor.ndim != 2 or tensor.shape[1] == 0:
                raise InvalidInput(f"input {name!r} has shape {list(tensor.shape)}; expected [rows, tokens]")
            if tensor.shape != shape:
                raise InvalidInput(
                    f"input {name!r} has shape {list(tensor.shape)} but 'input_ids' has {list(shape)}; "
                    "expected equal shapes"
                )
        self._check_values(tensors)

    def _check_values(self, tensors: Mapping[str, Array]) -> None:
        for name, tensor in tensors.items():
            # Read as unsigned, a negative value is a huge one: one comparison sees both ends.
            unsigned = tensor.view(np.uint64)
            if unsigned.max(initial=0) >= self._limits[name]:
                row, column = np.argwhere(unsigned >= self._limits[name])[0].tolist()
                raise InvalidInput(
                    f"input {name!r} holds {int(tensor[row, column])} at row {row}, position {column}; "
                    f"expected 0 to {self._limits[name] - 1}"
                )


def _text(sample: Any, index: int) -> str:
    if isinstance(sample, bytes):
        # Four bytes is the longest UTF-8 character: what is longer than this need not be decoded to be refused.
        if len(sample) > 4 * MAX_CHARACTERS:
            raise _too_long(index, f"{len(sample)} bytes")
        try:
            sample = sample.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"text {index} is not UTF-8: {error.reason} at byte {error.start}") from error
    elif not isinstance(sample, str):
        raise InvalidInput(f"text {index} is a {type(sample).__name__}; expected str or UTF-8 bytes")
    elif not sample.isascii() and any("\ud800" <= c <= "\udfff" for c in sample):
        raise InvalidInput(f"text {index} is not Unicode text: it holds a lone surrogate")
    if len(sample) > MAX_CHARACTERS:
        raise _too_long(index, f"{len(sample)} characters")
    return str(sample)


def _too_long(index: int, size: str) -> InvalidInput:
    return InvalidInput(
        f"text {index} has {size}; expected at most {MAX_CHARACTERS} characters",
        fix="split the text, or cut it",
    )


def _checked_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if tuple(sorted(set(options) - set(_OPTIONAL))) != _OPTIONS:
        raise InvalidInput(f"text preprocessing options are {sorted(options)}; expected {list(_OPTIONS)}")
    options = {**_OPTIONAL, **options}
    inputs = list(options["inputs"])
    if inputs not in ([*_INPUTS], [*_INPUTS[:2]]):
        raise InvalidInput(f"text preprocessing inputs are {inputs}; expected {list(_INPUTS)} or the first two")
    if options["truncation"] != "right":
        raise InvalidInput(f"text preprocessing truncation is {options['truncation']!r}; expected 'right'")
    for name, least in _LEAST.items():
        value = options[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInput(f"text preprocessing option {name!r} is {value!r}; expected an integer >= {least}")
    if options["max_length"] > MAX_CHARACTERS:
        raise InvalidInput(f"max_length {options['max_length']} is more than any text has: {MAX_CHARACTERS}")
    if options["pad_id"] >= options["vocab_size"]:
        raise InvalidInput(f"pad_id {options['pad_id']} is outside the vocabulary of {options['vocab_size']} tokens")
    return options


def _open_tokenizer(files: Mapping[str, Path], max_length: int, vocab_size: int) -> Tokenizer:
    if "tokenizer" not in files:
        raise InvalidInput(f"text preprocessing needs the file 'tokenizer'; got {sorted(files)}")
    try:
        tokenizer = Tokenizer.from_file(str(files["tokenizer"]))
    # tokenizers raises a bare Exception for anything that it cannot read.
    except Exception as error:
        raise Corrupt(f"the tokenizer file {files['tokenizer'].name!r} cannot be read: {error}") from error
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= vocab_size:
        raise InvalidInput(
            f"the tokenizer makes ids up to {largest} but the backbone knows only {vocab_size} tokens; "
            "expected the tokenizer that the backbone was trained with"
        )
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= special:
        raise InvalidInput(f"max_length {max_length} leaves no room beside {special} special tokens")
    # Checkpoints carry the padding and truncation of the day they were saved; only the spec decides here.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first", direction="right")
    return tokenizer
