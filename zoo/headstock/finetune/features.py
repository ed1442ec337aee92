"""Features: a tap's outputs for texts, from the exported graph that will serve them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
from headstock.finetune.feature_cache import FeatureCache, Known
from headstock.graph import Graph
from headstock.preprocess import Row
from headstock.servable import ServableBackbone

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Told `(rows done, rows in all)`."""

_BLOCK = 4096
"""Rows preprocessed at a time: bounds memory, and is wide enough to sort lengths well."""
_BUDGET = 512
"""Length units (tokens) of one batch, padding included; a CPU gains nothing beyond."""
_SHARD = 256
"""Rows computed before they are written to the cache: what a kill can lose."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features of rows, in the rows' order."""

    values: Floats
    """[n, width] FP32."""
    computed: int
    """Distinct samples that the backbone ran on."""
    cached: int
    """Distinct samples that came from the cache."""
    truncated: int
    """Distinct samples that were longer than the backbone reads, and were cut."""


class FeatureExtractor:
    """Runs a frozen backbone on what the cache does not know yet."""

    def __init__(self, backbone: ServableBackbone, tap: str, cache: FeatureCache | None, *, threads: int = 1) -> None:
        """Open the graph. `threads` batches run side by side; it changes the time, never a bit of the result.

        Raises `NotFound` if the backbone has no such tap and `Unsupported` if the tap has more than one vector
        per row.
        """
        shape = backbone.identity.tap(tap).shape
        if len(shape) != 2:
            usable = [t.name for t in backbone.identity.taps if len(t.shape) == 2]
            raise Unsupported(
                f"tap {tap!r} has shape {list(shape)}: one vector per position, and this version trains heads on "
                "taps with one vector per row only",
                fix=f"--tap {usable[0]}" if usable else None,
            )
        self._backbone = backbone
        self._tap = tap
        self._width = shape[-1]
        self._cache = cache
        self._threads = threads
        self._graph = Graph(backbone.graph)
        self._preprocessor = backbone.open_preprocessor()

    def features(self, inputs: Sequence[str], samples: Sequence[Digest], progress: Progress) -> FeatureSet:
        """Features of `inputs`; equal samples run once, cached ones not at all."""
        distinct = dict(zip(samples, inputs, strict=True))
        parts = self._cache.load(distinct.keys()) if self._cache is not None else []
        known = Known.join(parts, self._width)
        have = set(known.samples)
        todo = [sample for sample in distinct if sample not in have]
        done = 0
        if todo:
            progress(0, len(todo))
        for piece in self._shards(todo, distinct):
            if self._cache is not None:
                self._cache.append(piece)
            parts.append(piece)
            done += len(piece)
            progress(done, len(todo))
        everything = Known.join(parts, self._width)
        index = {sample: row for row, sample in enumerate(everything.samples)}
        rows = np.fromiter((index[sample] for sample in samples), dtype=np.int64, count=len(samples))
        return FeatureSet(everything.values[rows], len(todo), len(known), int(everything.truncated.sum()))

    def _shards(self, todo: Sequence[Digest], texts: Mapping[Digest, str]) -> Iterator[Known]:
        for start in range(0, len(todo), _BLOCK):
            block = todo[start : start + _BLOCK]
            rows = self._preprocess([texts[sample] for sample in block])
            batches = list(self._batches(rows))
            yield from self._gather(block, rows, zip(batches, self._outputs(rows, batches), strict=True))

    def _preprocess(self, texts: Sequence[str]) -> list[Row]:
        try:
            return self._preprocessor.rows(texts)
        except InvalidInput:
            # The preprocessor counts within what it was given, which means nothing to the owner of a file.
            for text in texts:
                try:
                    self._preprocessor.rows([text])
                except InvalidInput as error:
                    raise InvalidInput(
                        f"the backbone cannot read the row that begins {text[:60]!r}: {error.message}",
                        fix=error.fix,
                    ) from error
            raise

    def _outputs(self, rows: Sequence[Row], batches: Sequence[Sequence[int]]) -> Iterator[Floats]:
        work = [[rows[i] for i in batch] for batch in batches]
        if self._threads == 1:
            yield from map(self._run, work)
            return
        pool = ThreadPoolExecutor(self._threads)
        try:
            yield from pool.map(self._run, work)
        finally:
            pool.shutdown(cancel_futures=True)

    def _gather(
        self, block: Sequence[Digest], rows: Sequence[Row], results: Iterable[tuple[list[int], Floats]]
    ) -> Iterator[Known]:
        order: list[int] = []
        values: list[Floats] = []
        for batch, output in results:
            order += batch
            values.append(output)
            if len(order) >= _SHARD:
                yield self._known(block, rows, order, values)
                order, values = [], []
        if order:
            yield self._known(block, rows, order, values)

    @staticmethod
    def _known(block: Sequence[Digest], rows: Sequence[Row], order: list[int], values: list[Floats]) -> Known:
        truncated = np.array([rows[i].truncated for i in order], dtype=np.uint8)
        return Known(tuple(block[i] for i in order), np.concatenate(values), truncated)

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Row indices in batches of near lengths; alone where the backbone may not share a batch."""
        certificate = self._backbone.certificate
        alone = certificate is None or not certificate.shared
        equal = self._backbone.identity.padding == "equal-length"
        batch: list[int] = []
        for i in sorted(range(len(rows)), key=lambda i: (rows[i].length, i)):
            # Lengths ascend, so the newcomer is the longest and sets the padding of all.
            over_budget = (len(batch) + 1) * rows[i].length > _BUDGET
            if batch and (alone or over_budget or (equal and rows[batch[0]].length != rows[i].length)):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _run(self, rows: list[Row]) -> Floats:
        (values,) = self._graph.run(self._preprocessor.collate(rows), [self._tap])
        if not np.isfinite(values).all():
            raise FailedPrecondition(
                f"the backbone answers NaN or infinity on tap {self._tap!r} for at least one row",
                fix="headstock pull the backbone again; headstock verify",
            )
        return values
