"""Features: a tap's outputs for samples, from the exported graph that will serve them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from headstock.data.inputs import RawInputs
from headstock.digest import Digest
from headstock.errors import InvalidInput
from headstock.finetune.feature_cache import FeatureCache, Known
from headstock.finetune.reading import preprocessed
from headstock.finetune.values import Values, joined, pick
from headstock.graph import Graph
from headstock.preprocess import Row
from headstock.records import Reads
from headstock.servable import ServableBackbone

Progress = Callable[[int, int], None]
"""Told `(rows done, rows in all)`."""

_BUDGET = 512
"""Length units (tokens) of one batch, padding included; a CPU gains nothing beyond."""
_SHARD = 256
"""Rows computed before they are written to the cache: what a kill can lose."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features of rows, in the rows' order."""

    values: Values
    """[n, ..., width] FP32, or a list of arrays [positions, width]."""
    computed: int
    """Distinct samples that the backbone ran on."""
    cached: int
    """Distinct samples that came from the cache."""
    truncated: int
    """Distinct samples that were longer than the backbone reads, and were cut."""


class FeatureExtractor:
    """Runs a frozen backbone on what the cache does not know yet."""

    def __init__(
        self,
        backbone: ServableBackbone,
        tap: str,
        cache: FeatureCache | None,
        *,
        threads: int = 1,
        reads: Reads = "any",
        graph: Graph | None = None,
    ) -> None:
        """Open the graph; `graph` runs instead of the backbone's own, and then nothing may be cached.

        `threads` batches run side by side; it changes the time, never a bit of the result.
        Raises `NotFound` if the backbone has no such tap.
        """
        self._backbone = backbone
        self._tap = backbone.identity.tap(tap)
        self._cache = cache
        self._threads = threads
        self._reads: Reads = reads
        self._graph = graph or Graph(backbone.graph)
        self._preprocessor = backbone.open_preprocessor()

    def features(self, inputs: RawInputs, progress: Progress) -> FeatureSet:
        """Features of `inputs`; equal samples run once, cached ones are not even read."""
        samples = inputs.samples
        distinct: dict[Digest, int] = {}
        for row, sample in enumerate(samples):
            distinct.setdefault(sample, row)
        parts = self._cache.load(distinct.keys()) if self._cache is not None else []
        have = {sample for part in parts for sample in part.samples}
        todo = [sample for sample in distinct if sample not in have]
        done = 0
        if todo:
            progress(0, len(todo))
        for piece in self._shards(todo, [distinct[sample] for sample in todo], inputs):
            if self._cache is not None:
                self._cache.append(piece)
            parts.append(piece)
            done += len(piece)
            progress(done, len(todo))
        everything = Known.join(parts, self._tap.shape[1:], ragged=self._tap.ragged)
        index = {sample: row for row, sample in enumerate(everything.samples)}
        values = pick(everything.values, [index[sample] for sample in samples])
        return FeatureSet(values, len(todo), len(have), int(everything.truncated.sum()))

    def _shards(self, todo: Sequence[Digest], places: Sequence[int], inputs: RawInputs) -> Iterator[Known]:
        for start in range(0, len(todo), inputs.block):
            block = todo[start : start + inputs.block]
            rows = preprocessed(self._preprocessor, self._reads, inputs, places[start : start + inputs.block])
            batches = list(self._batches(rows))
            results = zip(batches, self._outputs(rows, batches), strict=True)
            named = partial(_name, inputs, places[start : start + inputs.block])
            yield from self._gather(block, rows, self._finite(results, named))

    def _outputs(self, rows: Sequence[Row], batches: Sequence[Sequence[int]]) -> Iterator[Values]:
        work = [[rows[i] for i in batch] for batch in batches]
        if self._threads == 1:
            yield from map(self._run, work)
            return
        pool = ThreadPoolExecutor(self._threads)
        try:
            yield from pool.map(self._run, work)
        finally:
            pool.shutdown(cancel_futures=True)

    def _finite(
        self, results: Iterable[tuple[list[int], Values]], named: Callable[[int], str]
    ) -> Iterator[tuple[list[int], Values]]:
        """The same; raises `InvalidInput` with the name of the first row whose features are no numbers."""
        for batch, output in results:
            for row, features in zip(batch, output, strict=True):
                if not np.isfinite(features).all():
                    raise InvalidInput(
                        f"the backbone answers {named(row)} with NaN or infinity on tap {self._tap.name!r}; "
                        "expected finite features",
                        fix="delete or correct that row; if every row does it, pull the backbone again",
                    )
            yield batch, output

    def _gather(
        self, block: Sequence[Digest], rows: Sequence[Row], results: Iterable[tuple[list[int], Values]]
    ) -> Iterator[Known]:
        order: list[int] = []
        values: list[Values] = []
        for batch, output in results:
            order += batch
            values.append(output)
            if len(order) >= _SHARD:
                yield self._known(block, rows, order, values)
                order, values = [], []
        if order:
            yield self._known(block, rows, order, values)

    def _known(self, block: Sequence[Digest], rows: Sequence[Row], order: list[int], values: list[Values]) -> Known:
        truncated = np.array([rows[i].truncated for i in order], dtype=np.uint8)
        found = joined(values, values[0][0].shape, self._tap.ragged)
        return Known(tuple(block[i] for i in order), found, truncated)

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

    def _run(self, rows: list[Row]) -> Values:
        (block,) = self._graph.run(self._preprocessor.collate(rows), [self._tap.name])
        values: Values = block
        if self._tap.ragged:
            # Copies: a view would keep the whole padded batch in memory.
            values = [row[: self._tap.positions(r.steps)].copy() for row, r in zip(block, rows, strict=True)]
        return values


def _name(inputs: RawInputs, places: Sequence[int], row: int) -> str:
    return inputs.name(places[row])
