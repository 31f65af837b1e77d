"""Links from one page of a list to the others."""

from collections.abc import Mapping
from urllib.parse import urlencode


def page_links(asked: Mapping[str, str | None], skip: int, limit: int, total: int) -> dict[str, str]:
    """The header `Link` (RFC 8288) to the next and the previous page, as far as there are any; perhaps nothing.

    The targets are relative to the request's own URL: a proxy may serve it below a path of its own.
    """
    kept = {name: value for name, value in asked.items() if value is not None}
    places = {}
    if limit and skip + limit < total:
        places["next"] = skip + limit
    if limit and skip:
        places["prev"] = max(skip - limit, 0)
    links = [f'<?{urlencode(kept | {"skip": at, "limit": limit})}>; rel="{name}"' for name, at in places.items()]
    return {"Link": ", ".join(links)} if links else {}
