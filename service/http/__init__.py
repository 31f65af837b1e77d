"""HTTP and the API: who may call, what a request asks for, how an answer is written.

Begin with `sources`, the handlers of the details page; `hot_path` answers most of its requests before the framework.
`gate` decides who may call, `protocol` bounds what a client may send and for how long.
"""
