"""GPT-2 and what shares its architecture: DistilGPT2, DialoGPT."""

from headstock_text.gpt.family import GptFamily

__all__ = ["GptFamily"]
