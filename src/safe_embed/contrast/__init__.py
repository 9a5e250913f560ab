"""Contrast sets: a prompt and its edits, each of which changes a small part of it.

`answers` reads what a language model answered, `parsing` a file of such answers, `difference` says
where another reading of them departs, and `validity` reports on any file of contrast sets.
`generate` asks a model for edits, and `batch_jobs` does so through the Batch API.
"""

from safe_embed.contrast.answers import AnswerError, Reason, check_edits, parse_answer
from safe_embed.contrast.difference import Comparison, Difference
from safe_embed.contrast.parsing import ParsedSet, RejectedAnswer, parse_raw, write_parsed
from safe_embed.contrast.validity import Thresholds, ValidityReport, check_sets

__all__ = [
    "AnswerError",
    "Comparison",
    "Difference",
    "ParsedSet",
    "Reason",
    "RejectedAnswer",
    "Thresholds",
    "ValidityReport",
    "check_edits",
    "check_sets",
    "parse_answer",
    "parse_raw",
    "write_parsed",
]
