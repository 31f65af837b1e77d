"""The view's part of "never stale": a model that spin explores in full, and its counterexamples on a real server."""
