"""What onnxruntime runs a graph on."""

from __future__ import annotations

from safe_embed.errors import EncoderError, InputError

__all__ = ["providers_of"]

Providers = list[tuple[str, dict[str, str]]]

_PROVIDERS: dict[str, Providers] = {
    "cpu": [("CPUExecutionProvider", {})],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})],
}


def providers_of(device: str) -> Providers:
    """The providers of a device, for a session of onnxruntime.

    Raises:
        InputError: `device` is neither "cpu" nor "cuda".
        EncoderError: this onnxruntime cannot run on it.
    """
    import onnxruntime

    if device not in _PROVIDERS:
        raise InputError(f"device must be one of {', '.join(_PROVIDERS)}, got {device!r}")
    provider = _PROVIDERS[device][0][0]
    if provider not in onnxruntime.get_available_providers():
        raise EncoderError(
            f"device {device!r}: this onnxruntime has no {provider}; "
            "pip install onnxruntime-gpu in place of onnxruntime, or use the device 'cpu'"
        )
    return _PROVIDERS[device]
