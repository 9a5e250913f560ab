"""Choose, improve and deploy a sentence encoder as a prompt-safety detector.

>>> from safe_embed import evaluate, load_encoder, load_suite
>>> run = evaluate(load_encoder("fake"), load_suite("bundled")).run
>>> run.tasks.safety_taxonomy.k
10
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from safe_embed.errors import SafeEmbedError

if TYPE_CHECKING:
    from safe_embed.benchmark import (
        Evaluation,
        Run,
        Suite,
        evaluate,
        load_run,
        load_suite,
        save_evaluation,
    )
    from safe_embed.detection import Detector, Verdict, default_detector
    from safe_embed.encoders import Encoder, load_encoder
    from safe_embed.records import ContrastSet, Prompt, PromptPair

__all__ = [
    "ContrastSet",
    "Detector",
    "Encoder",
    "Evaluation",
    "Prompt",
    "PromptPair",
    "Run",
    "SafeEmbedError",
    "Suite",
    "Verdict",
    "default_detector",
    "evaluate",
    "load_encoder",
    "load_run",
    "load_suite",
    "save_evaluation",
]

# The rest is imported when it is first used, so that `import safe_embed` stays fast.
_HOME = {
    "ContrastSet": "safe_embed.records",
    "Detector": "safe_embed.detection",
    "Encoder": "safe_embed.encoders",
    "Evaluation": "safe_embed.benchmark",
    "Prompt": "safe_embed.records",
    "PromptPair": "safe_embed.records",
    "Run": "safe_embed.benchmark",
    "Suite": "safe_embed.benchmark",
    "Verdict": "safe_embed.detection",
    "default_detector": "safe_embed.detection",
    "evaluate": "safe_embed.benchmark",
    "load_encoder": "safe_embed.encoders",
    "load_run": "safe_embed.benchmark",
    "load_suite": "safe_embed.benchmark",
    "save_evaluation": "safe_embed.benchmark",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public object
    if name not in _HOME:
        raise AttributeError(f"module 'safe_embed' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
