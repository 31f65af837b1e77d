"""The names of tables: a key tells all tables of a source apart, a person reads the plain name."""

import re

_QUOTED = re.compile(r'"(?:[^"]|"")+"')


def display(key: str) -> str:
    """The name that pages show for a key (see source_details_registered): schema public's tables are never quoted."""
    return key[1:-1].replace('""', '"') if _QUOTED.fullmatch(key) else key


def key_of(schema: str, name: str) -> str:
    """The key of a table by its schema and the name that pages show: the name itself outside schema public."""
    return '"' + name.replace('"', '""') + '"' if schema == "public" and any(mark in name for mark in '."') else name
