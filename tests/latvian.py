"""Data that sorts in Latvian, whose order differs between glibc 2.36 and 2.41, while that of English does not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from containers import Container

__all__ = ["AFFECTED", "DATA", "SCHEMA", "Images", "Serve"]

DATA = "/var/lib/postgresql/data"

SCHEMA = """
CREATE TABLE words (id int PRIMARY KEY, w text CONSTRAINT words_w UNIQUE, bytes text COLLATE "C" CONSTRAINT words_bytes UNIQUE);
INSERT INTO words
SELECT row_number() OVER (), w, w FROM (
    SELECT a || b || n AS w FROM unnest(string_to_array('a ā b i ī y z', ' ')) AS a,
        unnest(string_to_array('a ā b i ī y z', ' ')) AS b, generate_series(1, 40) AS n) AS made;
CREATE INDEX words_lower ON words (lower(w));
CREATE INDEX words_early ON words (id) WHERE w < 'ja';
CREATE INDEX words_pattern ON words (w text_pattern_ops);
CREATE INDEX words_hash ON words USING hash (w);
CREATE INDEX words_one ON words (id) WHERE w = 'ya1';
CREATE TYPE span AS RANGE (subtype = text);
CREATE TABLE spans (s span, CONSTRAINT spans_apart EXCLUDE USING gist (s WITH &&));
INSERT INTO spans VALUES ('[a,b)'), ('[b,c)');
CREATE MATERIALIZED VIEW early AS SELECT w FROM words WHERE w < 'ja';
"""
AFFECTED = {"public.words_w", "public.words_lower", "public.words_early", "public.spans_apart"}
"""Its indexes that depend on the order of text."""

Serve = Callable[..., AbstractContextManager[Container]]


class Images(NamedTuple):
    """The image under test with a Latvian locale, on both libraries."""

    old: str
    """glibc 2.36."""
    new: str
    """The same PostgreSQL on glibc 2.41."""
