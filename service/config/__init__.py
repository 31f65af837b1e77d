"""The settings that an operator makes in environment variables.

Start with `settings`. Each other module parses one kind of value: Redis URLs, host patterns, tokens, the key.
"""
