"""The tests, in the rooms of `service/`; `deployment` is about the product as it is deployed."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
