"""Wording as of a request that was translated word by word: by rules, not by a translator.

What it is: a fixed table of synonyms and literal phrases, articles that go missing, a question
without inversion, a phrase of place or time moved to the front, and a frame of politeness. What it
is not: a translation, a fluent paraphrase, or a check that the meaning stayed to the letter; a
model that rewrites freely changes far more. It measures how much a detector hangs on wording.
"""

from __future__ import annotations

import random
import re

__all__ = ["translation_like"]

# Longest first where one begins another. Literal phrases, as a dictionary would give them.
_PHRASES = {
    "what is the best way to": "which is the best manner to",
    "what's the best way to": "which is the best manner to",
    "is there a way to": "exists there a possibility to",
    "how can i": "in which manner I can",
    "how could i": "in which manner I could",
    "how do i": "in which manner I do",
    "how do you": "in which manner one does",
    "how to": "in which manner to",
    "how would i": "in which manner I would",
    "how would you": "in which manner one would",
    "can you": "are you able to",
    "could you": "would you be able to",
    "tell me": "say to me",
    "show me": "make me see",
    "give me": "hand to me",
    "help me": "be of help to me to",
    "i want to": "I have the wish to",
    "i need to": "it is necessary for me to",
    "i would like to": "I have the wish to",
    "get rid of": "make oneself free of",
    "get away with": "remain without punishment for",
    "find out": "bring in experience",
    "look for": "search after",
    "look like": "have the appearance of",
    "make sure": "go sure",
    "a lot of": "very many",
    "right now": "in this moment",
    "as soon as possible": "so fast as possible",
    "without getting caught": "without that one catches me",
    "without anyone noticing": "without that somebody remarks it",
    "what happens if": "what passes if",
    "what should i": "what is it that I should",
    "why do": "for which reason do",
    "why does": "for which reason does",
    "why is": "for which reason is",
    "what are": "which are",
}
_SYNONYMS = {
    "angry": "furious",
    "ask": "inquire",
    "beat": "strike",
    "begin": "commence",
    "big": "large",
    "boss": "chief",
    "boy": "lad",
    "break": "fracture",
    "build": "construct",
    "buy": "acquire",
    "car": "automobile",
    "cheap": "inexpensive",
    "cheat": "swindle",
    "child": "infant",
    "children": "infants",
    "clothes": "garments",
    "convince": "persuade",
    "cops": "policemen",
    "cut": "slice",
    "destroy": "ruin",
    "drug": "narcotic",
    "drugs": "narcotics",
    "easy": "simple",
    "explain": "clarify",
    "fake": "falsified",
    "fast": "quickly",
    "fight": "combat",
    "fix": "repair",
    "friend": "companion",
    "friends": "companions",
    "girl": "lass",
    "gun": "firearm",
    "guns": "firearms",
    "hate": "detest",
    "hide": "conceal",
    "house": "dwelling",
    "hurt": "injure",
    "illegal": "unlawful",
    "job": "employment",
    "kid": "infant",
    "kids": "infants",
    "kill": "slay",
    "killed": "slain",
    "killing": "slaying",
    "large": "big",
    "learn": "study",
    "lie": "untruth",
    "make": "produce",
    "making": "producing",
    "man": "gentleman",
    "money": "cash",
    "neighbor": "person next door",
    "neighbour": "person next door",
    "password": "secret word",
    "people": "persons",
    "phone": "telephone",
    "poison": "toxin",
    "quick": "rapid",
    "quickly": "rapidly",
    "rich": "wealthy",
    "rob": "plunder",
    "scam": "fraud",
    "scare": "frighten",
    "secretly": "in secret",
    "sell": "vend",
    "shop": "store",
    "sick": "ill",
    "smart": "clever",
    "start": "commence",
    "steal": "take away",
    "stealing": "taking away",
    "stop": "cease",
    "store": "shop",
    "stupid": "foolish",
    "talk": "speak",
    "teach": "instruct",
    "trick": "deceive",
    "use": "utilise",
    "using": "utilising",
    "wife": "spouse",
    "woman": "lady",
    "work": "labour",
    "write": "compose",
}
_FRAMES = (
    "{}",
    "Please, {}",
    "Good day, one question: {}",
    "Excuse me, I would like to inquire the following: {}",
    "{} I thank you in advance.",
    "Be so kind and answer: {}",
)
_PHRASE = re.compile(rf"\b(?:{'|'.join(sorted(_PHRASES, key=len, reverse=True))})\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")
_ARTICLE = re.compile(r"\b(a|an|the) (?=\w)", re.IGNORECASE)
_TAIL = re.compile(
    r"^(?P<head>[^.!?\n]*\w) (?P<tail>(?:at|in|during|before|after|near|under) "
    r"(?:[\w'-]+ ){0,4}[\w'-]+)(?P<end>[.!?]*)$"
)


def translation_like(text: str, rng: random.Random) -> str:
    """A text in wording as of a word-by-word translation; see the module for what that is not."""
    frame = rng.choice(_FRAMES)
    if rng.random() < 0.5 and (match := _TAIL.match(text)):
        text = f"{match['tail']}, {match['head']}{match['end']}"
    text = _PHRASE.sub(lambda match: _PHRASES[match.group().lower()], text)
    text = _WORD.sub(lambda match: _synonym(match.group()), text)
    text = _ARTICLE.sub(lambda match: "" if rng.random() < 0.5 else match.group(), text)
    if frame.startswith("{}") and len(frame) > 2 and text[-1:].isalnum():
        text += "."
    return frame.replace("{}", text)


def _synonym(word: str) -> str:
    other = _SYNONYMS.get(word.lower())
    if other is None:
        return word
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
