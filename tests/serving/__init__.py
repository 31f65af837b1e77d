"""Serving with several processes on one port."""
