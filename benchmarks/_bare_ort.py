"""Bare ONNX Runtime in a process of its own: the limit that a server can reach on the same core and inputs.

Reads one JSON request a line, `{"lengths": [...], "batch": 8, "seconds": 1.5}`, and answers one JSON line with rows
per wall second, rows per CPU second and the median time of a pass. A burst ends with a whole turn of the rows: part of
a list of different lengths is another load than the list. The process stays alive between requests, so that bursts of
it can be interleaved with windows of the server without paying for a load each time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from headstock.graph import Graph


def batches(
    lengths: list[int], batch: int, vocabulary: int, tap: str, inputs: tuple[str, ...]
) -> list[dict[str, np.ndarray]]:
    """The rows in the order given, `batch` at a time, padded to the longest of each batch."""
    generator = np.random.default_rng(0)
    made = []
    for start in range(0, len(lengths) - batch + 1, batch):
        part = lengths[start : start + batch]
        width = max(part)
        ids = generator.integers(1000, vocabulary, (batch, width))
        mask = (np.arange(width) < np.array(part)[:, None]).astype(np.int64)
        feeds = {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        made.append({name: feeds[name] for name in inputs})
    return made


def main() -> None:
    """Serve bursts until standard input ends."""
    graph = Graph(Path(sys.argv[1]), threads=1)
    vocabulary, tap = int(sys.argv[2]), sys.argv[3]
    for line in sys.stdin:
        request = json.loads(line)
        feeds = batches(request["lengths"], request["batch"], vocabulary, tap, graph.inputs)
        graph.run(feeds[0], [tap])
        times, wall, cpu = [], time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < request["seconds"]:
            for feed in feeds:
                start = time.perf_counter()
                graph.run(feed, [tap])
                times.append(time.perf_counter() - start)
        rows = len(times) * request["batch"]
        figures = {
            "wall": rows / (time.perf_counter() - wall),
            "cpu": rows / (time.process_time() - cpu),
            "p50_ms": float(np.median(times)) * 1000,
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
