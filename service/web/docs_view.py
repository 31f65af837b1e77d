"""The API's documentation as a page: the OpenAPI document, drawn by the server."""

import json
from typing import Any

from litestar import Response, route
from litestar.enums import HttpMethod

from service.http.context import AppRequest
from service.http.openapi_document import without_heads
from service.http.templates import render
from service.web.answers import html, page_of


@route("/docs", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def docs_page(request: AppRequest) -> Response[bytes]:
    """Every operation with its parameters, answers and examples. It needs no script."""
    document = without_heads(request.app.openapi_schema.to_schema())
    return await html(request, page_of(render("docs.html", info=document["info"], chapters=chapters(document))))


def chapters(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The chapters in the order of the document's tags, each with its operations."""
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "id": operation["operationId"],
            "summary": operation.get("summary", ""),
            "description": operation.get("description", ""),
            "parameters": [_parameter(each) for each in operation.get("parameters", [])],
            "answers": [_answer(status, each) for status, each in sorted(operation["responses"].items())],
            "tags": operation.get("tags", []),
        }
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    return [
        {**tag, "operations": [each for each in operations if tag["name"] in each["tags"]]} for tag in document["tags"]
    ]


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    schema = parameter.get("schema", {})
    values = " | ".join(schema["enum"]) if "enum" in schema else schema.get("type", "string")
    return {
        "name": parameter["name"],
        "place": parameter["in"],
        "type": values,
        "description": parameter.get("description", ""),
    }


def _answer(status: str, answer: dict[str, Any]) -> dict[str, Any]:
    forms = answer.get("content", {}).values()
    examples = [example["value"] for form in forms for example in form.get("examples", {}).values()]
    shown = [each if isinstance(each, str) else json.dumps(each, indent=2, ensure_ascii=False) for each in examples]
    return {"status": status, "description": answer.get("description", ""), "examples": shown}


HANDLERS = [docs_page]
