"""The manifests for Kubernetes: as the API server would take them, and with settings that exist."""

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import settings
from service.config.secret_files import VARIABLES
from tests import PROJECT
from tests.fixtures.changelog import released

MANIFESTS = PROJECT / "service" / "deploy" / "kubernetes"
# Kinds that Kubernetes itself does not define.
_OF_OTHERS = {"Kustomization", "ServiceMonitor"}


def objects() -> Iterator[dict[str, Any]]:
    """All of them."""
    for path in sorted(MANIFESTS.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


OBJECTS = {f"{each['kind']} {each.get('metadata', {}).get('name', '')}": each for each in objects()}
PODS = {
    name: each["spec"]["template"]["spec"] for name, each in OBJECTS.items() if each["kind"] in ("Deployment", "Job")
}


@pytest.mark.parametrize("name", [name for name, each in OBJECTS.items() if each["kind"] not in _OF_OTHERS])
@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_object_fits_the_schema(name: str, version: str) -> None:
    """Without members that the API server would drop silently."""
    kubernetes_validate.validate(OBJECTS[name], version, strict=True)


def test_misspelt_member_does_not_fit() -> None:
    """Else the test before would prove nothing."""
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(OBJECTS["Service rosetta-source-details"] | {"spce": {}}, "1.37", strict=True)


@pytest.mark.parametrize("name", PODS)
def test_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    """No root, no writing, no capability, no token of the cluster; and a bound on memory."""
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", PODS)
def test_settings_exist_and_secrets_are_files(name: str) -> None:
    """Each file is below the volume of the secret, and no secret is in the environment."""
    (container,) = PODS[name]["containers"]
    known = {setting.variable for setting in settings.describe()} | {f"{secret}_FILE" for secret in VARIABLES}
    for variable in container["env"]:
        assert variable["name"] in known
        assert variable["name"] not in VARIABLES
        if variable["name"].endswith("_FILE"):
            assert variable["value"].startswith("/run/secrets/rosetta/")
    assert PODS[name]["volumes"][0]["secret"]["secretName"] == "rosetta-source-details"


def test_all_of_them_are_applied_in_this_version() -> None:
    """The list is complete, and every version is the newest release."""
    newest = released()[0]
    (kustomization,) = (each for each in objects() if each["kind"] == "Kustomization")
    assert set(kustomization["resources"]) == {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert kustomization["images"] == [{"name": "rosetta-source-details", "newTag": newest}]
    for pod in PODS.values():
        assert pod["containers"][0]["image"] == f"rosetta-source-details:{newest}"
    assert f"Job rosetta-source-details-migrate-{newest}" in OBJECTS
