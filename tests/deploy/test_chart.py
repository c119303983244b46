"""The Helm chart, linted and rendered by Helm itself; the API of Kubernetes judges the result."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from node.config_file import load_settings
from node.config_over import overrides

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/cxr-node"
_KUBERNETES = ("1.27", "1.37")
_WARNING = 2

SITE: dict[str, Any] = {
    "config": {
        "node": {"port": 11113, "web": {"enabled": True, "bind": "0.0.0.0", "allow_plain": True}},
        "peers": {"pacs": {"ae_title": "PACS", "host": "10.0.0.5", "port": 104}},
    },
    "secrets": {"existingSecret": "cxr-secrets"},
    "imagePullSecrets": [{"name": "registry"}],
    "service": {"type": "NodePort", "nodePort": 30104, "annotations": {"a": "b"}},
    "storage": {"className": "encrypted", "size": "1Ti"},
    "gpus": 1,
    "networkPolicy": {
        "dicomFrom": ["10.0.0.0/8"],
        "metricsFrom": {"kubernetes.io/metadata.name": "monitoring"},
        "to": ["10.0.0.0/8"],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
"""Values in which everything is asked for."""

VALUES = {
    "default": {},
    "site": SITE,
    "claim": {"storage": {"existingClaim": "there"}, "networkPolicy": {"enabled": False}},
    "inside": {"service": {"type": "ClusterIP", "nodePort": 30104}},
}


def _render(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the manifests by kind and name."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(values, name="cxr", namespace="radiology")
    found = {}
    for name, text in texts.items():
        for made in yaml.safe_load_all(text) if name.endswith(".yaml") else ():
            if made:
                found[f"{made['kind']} {made['metadata']['name']}"] = made
    return found


def _pod(values: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = _render(values)["StatefulSet cxr-cxr-node"]["spec"]["template"]["spec"]
    return spec


def test_helm_lints_the_chart_without_a_warning() -> None:
    for values in VALUES.values():
        report = helm.lint(CHART, values, strict=True)
        assert report["errors"] == []
        assert [one for one in report["messages"] if one["severity"] >= _WARNING] == []


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("version", _KUBERNETES)
def test_kubernetes_takes_every_manifest(name: str, version: str) -> None:
    for made in _render(VALUES[name]).values():
        if made["kind"] != "ServiceMonitor":  # of the Prometheus operator
            kubernetes_validate.validate(made, version, strict=True)


def test_every_manifest_is_labelled_and_found_by_its_selectors() -> None:
    made = _render(SITE)
    labels = made["StatefulSet cxr-cxr-node"]["spec"]["template"]["metadata"]["labels"].items()
    for what, one in made.items():
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "cxr", what
    for selector in (
        made["StatefulSet cxr-cxr-node"]["spec"]["selector"]["matchLabels"],
        made["Service cxr-cxr-node"]["spec"]["selector"],
        made["Service cxr-cxr-node-inside"]["spec"]["selector"],
        made["NetworkPolicy cxr-cxr-node"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    inside = made["Service cxr-cxr-node-inside"]["metadata"]["labels"].items()
    monitor = made["ServiceMonitor cxr-cxr-node"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= inside
    assert monitor["endpoints"][0]["port"] == "metrics"
    assert made["StatefulSet cxr-cxr-node"]["spec"]["serviceName"] == "cxr-cxr-node-inside"


def test_the_pod_may_do_nothing_that_it_need_not() -> None:
    pod = _pod({})
    assert pod["automountServiceAccountToken"] is False
    around = pod["securityContext"]
    assert (around["runAsNonRoot"], around["runAsUser"]) == (True, 64198)
    assert around["seccompProfile"] == {"type": "RuntimeDefault"}
    (node,) = pod["containers"]
    assert node["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    writable = {one["name"] for one in node["volumeMounts"] if not one.get("readOnly")}
    assert writable == {"state", "scratch"}


def test_the_pod_is_asked_how_it_is_where_the_node_says_so() -> None:
    (node,) = _pod(SITE)["containers"]
    ports = {one["name"]: one["containerPort"] for one in node["ports"]}
    assert ports == {"dicom": 11113, "metrics": 9043, "web": 8043}
    asked = {name: node[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert asked["livenessProbe"] == {"path": "/health", "port": "metrics"}
    assert asked["readinessProbe"] == {"path": "/ready", "port": "metrics"}
    assert node["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": 1}


def _environment(values: dict[str, Any], secrets: Path) -> Iterator[tuple[str, str]]:
    (node,) = _pod(values)["containers"]
    for one in node["env"]:
        is_folder = one["name"] == "CXR_SECRETS_DIR"
        yield one["name"], str(secrets) if is_folder else one["value"]


@pytest.mark.parametrize("values", [{}, SITE], ids=["default", "site"])
def test_the_node_understands_what_the_chart_tells_it(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path, secrets = tmp_path / "config.yaml", tmp_path / "secrets"
    secrets.mkdir()
    path.write_text(_render(values)["ConfigMap cxr-cxr-node"]["data"]["config.yaml"])
    given = dict(_environment(values, secrets))
    assert len(list(overrides(given))) == len(given.keys() - {"CXR_SECRETS_DIR"})
    settings = load_settings(path, given)
    (node,) = _pod(values)["containers"]
    ports = {one["name"]: one["containerPort"] for one in node["ports"]}
    assert (settings.node.port, settings.node.metrics.port) == (ports["dicom"], ports["metrics"])
    assert settings.node.metrics.enabled
    mounts = [Path(one["mountPath"]) for one in node["volumeMounts"] if not one.get("readOnly")]
    assert any(settings.node.storage.root.is_relative_to(place) for place in mounts)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {}}, "settings"),
        ({"config": {"nodes": {}}}, "nodes"),
        ({"service": {"type": "Ingress"}}, "type"),
        ({"service": {"nodePort": 104}}, "nodePort"),
        ({"networkPolicy": {"to": ["pacs.hospital"]}}, "to"),
    ],
)
def test_values_with_a_mistake_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmError, match=said):
        chart.validate_schema(values)


def test_the_chart_is_of_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert _pod({})["containers"][0]["image"] == f"cxr-node:{version}"
