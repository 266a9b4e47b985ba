"""The manifest for Kubernetes on the page about many machines."""

import re
from pathlib import Path

import yaml

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "many-machines.md"
GROUP = {"rayStartParams", "template"}
"""Required keys of ray.io/v1, from KubeRay's ray-operator/apis/ray/v1."""


def test_the_manifest_has_the_keys_of_its_schema() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    job = yaml.safe_load(block)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    known = {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"}
    assert set(job["spec"]) == known
    assert set(job["spec"]["rayClusterSpec"]) == {"headGroupSpec", "workerGroupSpecs"}
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"]]
    for workers in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        counts = {key: workers.pop(key) for key in ("replicas", "minReplicas", "maxReplicas")}
        assert counts["minReplicas"] <= counts["replicas"] <= counts["maxReplicas"]
        assert workers.pop("groupName") == "workers"
        groups.append(workers)
    for group in groups:
        assert set(group) == GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        mounts = {m["name"] for c in pod["containers"] for m in c["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
    assert "--resume --cluster auto" in job["spec"]["entrypoint"]
