"""The ONNX graph of a sentence encoder, made from its config.json and its tensors."""

from safe_embed.encoders.onnx_graph.architectures import GRAPH_VERSION
from safe_embed.encoders.onnx_graph.transformer import build_graph

__all__ = ["GRAPH_VERSION", "build_graph"]
