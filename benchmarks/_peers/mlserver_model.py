"""MLServer's side of `peers.py`: a model and the no-op, as its users write them."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import Session


class Classifier(MLModel):  # type: ignore[misc]
    """A session with a head; `parameters.extra` names the files."""

    async def load(self) -> bool:
        """Open the session."""
        extra = self.settings.parameters.extra
        self._session = Session(extra["graph"], extra["weight"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Logits of one request, or of those that adaptive batching put together."""
        arrays = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        logits = self._session(arrays["input_ids"], arrays["attention_mask"])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])


class Identity(MLModel):  # type: ignore[misc]
    """Gives back what it gets."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The same floats."""
        floats = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("floats", floats)])
