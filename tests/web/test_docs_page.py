"""The page of the API's documentation."""

import re

from tests.fixtures.runtime import Service


async def test_every_operation_is_on_the_page_with_its_examples(service: Service) -> None:
    """Without a script, and with the policy of the other pages."""
    document = (await service.client.get("/schema/openapi.json")).json()
    page = await service.client.get("/docs", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert f"<code>{method.upper()} {path}</code>" in page.text
            assert f'id="{operation["operationId"]}"' in page.text
            for parameter in operation.get("parameters", []):
                assert parameter["name"] in page.text
    assert "EntityNotFoundError" in page.text
    assert "error | warning | unknown | ok" in page.text
    assert not re.search(r"https?://(?!db\.example\.com)", page.text.replace("http://www.w3.org", ""))
    home = await service.client.get("/", headers={"Accept": "text/html"})
    assert 'href="./docs"' in home.text
