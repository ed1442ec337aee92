"""A model as a user of a peer would write it: an ONNX Runtime session on one thread, and a linear head."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime


class Session:
    """Runs in the peer's own environment, so it uses nothing of ours."""

    def __init__(self, graph: str, weight: str, tap: str = "mean") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._tap = tap
        self._weight = np.load(weight)

    def __call__(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> Any:
        """Logits [rows, classes] of token ids [rows, length] and their mask."""
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": np.zeros_like(input_ids)}
        features = self._session.run([self._tap], {name: feeds[name] for name in self._inputs})[0]
        return features @ self._weight
