"""DuckDB's words for what Trino's SQL has and DuckDB's has not: for an emulator of Athena that hands the text
to DuckDB as it is, and for tests. Nothing of it is sent to Athena."""

from __future__ import annotations

from pik.planning.sql.payload import texts_of

# From a JSON path as `trino.payload` writes it to a JSON pointer (RFC 6901).
_POINTER = r"""
replace(replace(regexp_replace(regexp_replace(
    replace(replace(substr(path, 2), '~', '~0'), '/', '~1'),
    '\["((?:[^"\\]|\\.)*)"\]', '/\1', 'g'), '\[([0-9]+)\]', '/\1', 'g'), '\"', '"'), '\\', '\')
"""
_MACROS = {
    "json_pointer_of(path)": _POINTER,
    "json_extract(document, path)": "json_extract_path(document, json_pointer_of(path))",
    "json_format(value)": "CAST(value AS VARCHAR)",
    "json_extract_scalar(document, path)": (
        "CASE WHEN json_type(document, json_pointer_of(path)) NOT IN ('OBJECT', 'ARRAY') THEN "
        + texts_of(
            "document", "json_pointer_of(path)", "json_type(document, json_pointer_of(path)) = 'DOUBLE'"
        )
        + " END"
    ),
    "regexp_like(text, pattern)": "regexp_matches(text, pattern)",
    "to_utf8(text)": "encode(text)",
}


def prelude() -> str:
    """Statements to put before a query. They begin with one that gives rows, so that an emulator that looks
    at the first word takes the whole for a query."""
    macros = [f"CREATE MACRO {name} AS ({' '.join(body.split())})" for name, body in _MACROS.items()]
    return "; ".join(["SELECT 1", *macros]) + "; "
