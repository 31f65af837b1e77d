"""The settings of the service, read from environment variables.

Start with `settings`. Each other module parses one kind of value: Redis URLs, host patterns, tokens, the key.
"""
