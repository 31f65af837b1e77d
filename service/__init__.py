"""Rosetta's source details service: pages of sources from a materialized view, cached in Redis, evicted by NOTIFY."""

__version__ = "0.2.0.dev0"
