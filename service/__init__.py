"""Rosetta's source details service: one source's page from a materialized view, through Redis, evicted by NOTIFY."""

__version__ = "0.1.0"
