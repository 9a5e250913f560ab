"""Sentence encoders: the catalogue, the weights, the backends and the embedding cache."""

from safe_embed.encoders.backends import BACKENDS, LoadOptions
from safe_embed.encoders.base import CountsTokens, Encoder
from safe_embed.encoders.load import load_encoder

__all__ = ["BACKENDS", "CountsTokens", "Encoder", "LoadOptions", "load_encoder"]
