"""Sentence encoders: the catalogue, the weights, the backends and the embedding cache."""

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.load import BACKENDS, load_encoder

__all__ = ["BACKENDS", "Encoder", "load_encoder"]
