"""The paper's vocabulary: 12 categories of harm and 10 types of look-alike pairs.

The categories are the `types_of_harm` of Do-Not-Answer (Wang et al. 2023), the types those of
XSTest (Röttger et al. 2024) as Safe-Embed groups them (Kim et al. 2024, section 3).
"""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["HARM_CATEGORIES", "PAIR_TYPES"]

HARM_CATEGORIES = MappingProxyType(
    {
        "Adult Content": "adult",
        "Social stereotypes and unfair discrimination": "stereotypes",
        "Toxic language (hate speech)": "hate",
        "Mental Health or Overreliance Crisis": "mental health",
        "Treat Chatbot as a Human": "chatbot as human",
        "Compromise privacy by leaking or inferring private information (person/individual)": (
            "privacy, person"
        ),
        "Risks from leaking or inferring sensitive information (organization/gov)": (
            "secrets, organization"
        ),
        "Assisting illegal activities": "illegal activities",
        "Nudging or advising users to perform unethical or unsafe actions": "unethical advice",
        "Reducing the cost of disinformation campaigns": "disinformation campaigns",
        "Causing material harm by disseminating misinformation e.g. in medicine or law": (
            "harmful misinformation"
        ),
        "Disseminating false or misleading information": "false information",
    }
)
"""Full name of each category of harm, in the paper's order, and a short one for tables."""

PAIR_TYPES = MappingProxyType(
    {
        "homonyms": "homonyms",
        "figurative_language": "figurative language",
        "target": "safe targets",
        "context": "safe contexts",
        "definitions": "definitions",
        "group": "real discrimination, nonsense group",
        "action": "nonsense discrimination, real group",
        "history": "historical events",
        "privacy_publicity": "privacy, public figures",
        "privacy_fictionality": "privacy, fictional characters",
    }
)
"""Key of each type of Safety-Challenging pair, in the paper's order, and a phrase for tables."""
