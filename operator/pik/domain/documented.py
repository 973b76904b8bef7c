"""Words that people and programs meet, each with the sentence that explains it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Documented(StrEnum):
    """A stable CamelCase word and its sentence (`meaning`); the documentation's lists are made of these."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member
