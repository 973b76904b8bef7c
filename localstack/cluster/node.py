"""A node for pods: containerd, the kubelet, kube-proxy and a server of names, inside the cluster's machine.

Each pod has a line of its own to the node (the plugin `ptp`), so that also what a pod sends to another by a
Service passes the node's tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster import kubeconfig, overlays
from cluster.control_plane import ControlPlane
from cluster.machine import Machine
from cluster.processes import Children
from cluster.slots import Slot
from cluster.tools import plugins_directory

NAME = "node"
SOCKET = "/run/containerd.sock"
PAUSE_IMAGE = "pik.dev/pause:local"

_READY_SECONDS = 90.0
_DOMAIN = "cluster.local"


def load(machine: Machine, archive: Path) -> None:
    """Gives the node an image. Raises `ClusterFailed`."""
    machine.run("ctr", "--address", SOCKET, "--namespace", "k8s.io", "images", "import", archive)


def start(
    directory: Path,
    slot: Slot,
    machine: Machine,
    programs: Mapping[str, Path],
    children: Children,
    control_plane: ControlPlane,
    pause: Path,
) -> None:
    """Starts the node and waits until it is ready. `pause`: archive of the image of a pod's first process.
    Raises `ClusterFailed`."""
    own = directory / "node"
    own.mkdir()
    _start_containerd(directory, own, slot, machine, children)
    load(machine, pause)
    _start_kubelet(directory, own, slot, programs, children, control_plane)
    _start_proxy(own, slot, programs, children, control_plane)
    _start_names(own, slot, programs, children, control_plane)
    children.wait("kubelet", "ready node", lambda: _is_ready(control_plane.get), _READY_SECONDS)


def _is_ready(get: Callable[[str], dict[str, object] | None]) -> bool:
    node: Any = get(f"/api/v1/nodes/{NAME}")
    if node is None:
        return False
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _start_containerd(directory: Path, own: Path, slot: Slot, machine: Machine, children: Children) -> None:
    plugins = plugins_directory()
    snapshotter = "overlayfs" if overlays.possible(directory, machine.succeeds) else "native"
    network = {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": slot.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (own / "cni").mkdir()
    _json(own / "cni" / "pods.conflist", network)
    config = own / "containerd.toml"
    config.write_text(f"""
version = 2
root = "{directory / "containerd"}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{own / "cni"}"
""")
    children.start("containerd", ["containerd", "--config", config])
    children.wait("containerd", "containerd", lambda: _answers(machine), _READY_SECONDS)


def _answers(machine: Machine) -> bool:
    return machine.succeeds("ctr", "--address", SOCKET, "version")


def _start_kubelet(
    directory: Path,
    own: Path,
    slot: Slot,
    programs: Mapping[str, Path],
    children: Children,
    control_plane: ControlPlane,
) -> None:
    identity = control_plane.authority.client(f"system:node:{NAME}", ["system:nodes"])
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": slot.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(control_plane.authority.own.certificate)},
        },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": slot.cgroup,
        "enforceNodeAllocatable": [],
        "clusterDNS": [slot.node],
        "clusterDomain": _DOMAIN,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "evictionHard": {},
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzPort": 0,
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(directory / "kubelet" / "logs"),
        "readOnlyPort": 0,
        "resolvConf": "",
        "volumePluginDir": str(own / "volume-plugins"),
    }
    as_node = kubeconfig.write(
        own / "kubelet.kubeconfig",
        control_plane.server,
        control_plane.authority.own.certificate,
        kubeconfig.with_certificate(identity),
    )
    children.start(
        "kubelet",
        [
            programs["kubelet"],
            f"--config={_json(own / 'kubelet.json', config)}",
            f"--kubeconfig={as_node}",
            f"--root-dir={directory / 'kubelet'}",
            f"--cert-dir={own / 'kubelet-pki'}",
            f"--hostname-override={NAME}",
            f"--node-ip={slot.node}",
        ],
    )


def _start_proxy(
    own: Path, slot: Slot, programs: Mapping[str, Path], children: Children, control_plane: ControlPlane
) -> None:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": slot.node,
        "clientConnection": {"kubeconfig": str(control_plane.admin)},
        "clusterCIDR": slot.pods,
        # 0: left as it is
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": f"{slot.node}:10256",
        "hostnameOverride": NAME,
        "metricsBindAddress": f"{slot.node}:10249",
    }
    children.start("kube-proxy", [programs["kube-proxy"], f"--config={_json(own / 'proxy.json', config)}"])


def _start_names(
    own: Path, slot: Slot, programs: Mapping[str, Path], children: Children, control_plane: ControlPlane
) -> None:
    corefile = own / "Corefile"
    corefile.write_text(f"""
.:53 {{
  bind {slot.node}
  errors
  kubernetes {_DOMAIN} {{
    kubeconfig {control_plane.admin} local
    ttl 1
  }}
}}
""")
    children.start("coredns", [programs["coredns"], "-conf", corefile])


def _json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path
