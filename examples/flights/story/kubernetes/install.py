"""A cluster, pik's image, the chart; and the same chart gone and back again."""

from __future__ import annotations

import json
import os
from typing import Any

import data
from story import oracle
from story.capture import Captured
from story.kubernetes.cluster_stage import NAMESPACE, RELEASE, SYSTEM, ClusterStage
from story.kubernetes.place import build_image, start_own, take_given
from story.questions import STORM_CHANGED, STORM_FLIGHTS, asked_again
from story.terminal import check

FILES = "examples/flights/kubernetes"
_STREAMS = ("flights", "weather")


def find_a_cluster(stage: ClusterStage, *, keep: bool) -> None:
    """`KUBECONFIG`'s, or one of our own with the image on its node."""
    if os.environ.get("KUBECONFIG"):
        with stage.chapter("The cluster that KUBECONFIG names"):
            stage.move_to(take_given(os.environ, stage.home))
            _arrive(stage)
            there = stage.kubectl("get", "namespace", NAMESPACE, SYSTEM, "--ignore-not-found", "-o", "name")
            check(not there, f"the story makes its namespaces: {' '.join(there.split())} is there already")
            stage.say(f"its nodes are to have the image {stage.place.image}")
        return
    with stage.chapter("A Kubernetes of its own: real programs, one node, an AWS emulator beside it"):
        with stage.working("etcd, API server, controllers, scheduler, containerd, kubelet, kube-proxy"):
            stage.move_to(start_own(stage.home, keep=keep))
        _arrive(stage)
    with stage.chapter("The image, by the project's own Dockerfile"):
        with stage.working("built, where something has changed since the last time"):
            archive = build_image()
        with stage.working("given to the node"):
            stage.place.cluster.load(archive)
        size = archive.stat().st_size / 1_000_000
        stage.proved(
            f"{stage.place.image}: {size:.0f} MB, built by buildah from ./Dockerfile; the node has it"
        )


def install(stage: ClusterStage) -> None:
    """The chart, the streams and the way to them."""
    with stage.chapter("helm install"):
        stage.type(f"kubectl apply -f {FILES}/namespaces.yaml")
        _helm_install(stage)
        stage.type(f"kubectl -n {SYSTEM} get deployments,pods")
        stage.type(f"helm test {RELEASE} -n {SYSTEM} | sed -n '/SUITE/,$p'")
        stage.proved(
            "operator and gateway are ready where only restricted pods may run, and helm test passes"
        )
    with stage.chapter("Two streams, by the same manifests as on a laptop"):
        stage.type(
            f"kubectl -n {NAMESPACE} apply -f examples/flights/flights.yaml -f examples/flights/weather.yaml"
        )
        wait_for_streams(stage)
        stage.type(f"kubectl -n {NAMESPACE} get pik")
        stage.find_the_gateway()


def wait_for_streams(stage: ClusterStage) -> None:
    stage.type(f"kubectl -n {NAMESPACE} wait --for=condition=Ready cst --all --timeout=180s")


def uninstall(stage: ClusterStage) -> None:
    """The chart goes, and nothing of the user's with it."""
    with stage.chapter("helm uninstall"):
        stage.leave_the_gateway()
        stored, objects = _stored(stage), _uids(stage)
        stage.type(f"helm uninstall {RELEASE} -n {SYSTEM} --wait")
        stage.type(f"kubectl -n {SYSTEM} wait --for=delete pod --all --timeout=120s")
        stage.type("kubectl get crds -o name | grep pik.dev")
        stage.type(f"kubectl -n {NAMESPACE} get pik")
        check(_uids(stage) == objects, "every object is there")
        check(_stored(stage) == stored, "raw data is left alone")
        stage.proved(
            f"pik is gone. Its CRDs are there, its {len(objects)} objects, and the {sum(stored.values()):,} "
            f"objects of raw data in {len(stored)} buckets"
        )


def install_again(stage: ClusterStage, version: str, received: int) -> None:
    """The chart is back and goes on with what is there."""
    with stage.chapter("And installed again"):
        streams, objects = _stream_ids(stage), _uids(stage)
        _helm_install(stage)
        stage.find_the_gateway()
        wait_for_streams(stage)
        answered = stage.feed(stage.home / "weather-again.csv", "weather")
        check("ACCEPTED" not in answered, "readings of before are known to the new gateway")
        asked_again(stage, "delay-after-reinstall", version)
        wait_for_streams(stage)
        stage.type(f"kubectl -n {NAMESPACE} get pik")
        check(_stream_ids(stage) == streams, "the streams are the same ones")
        check(objects.items() <= _uids(stage).items(), "no object is another")
        check(len(stage.received()) == received, "nothing is sent again")
        stage.proved(
            f"adopted: the same stream ids, every repeat known, the same version ({version[:12]}); and the "
            f"dashboard has heard nothing beyond its {received} events"
        )


def counted(stage: ClusterStage, captured: Captured) -> None:
    """The counters in status come to what was sent. They are looked at once a minute."""
    flights = data.FLIGHTS + STORM_FLIGHTS + STORM_CHANGED  # where nothing is looked up, each arrival counts
    weather = data.WEATHER - oracle.local_hour_collisions(captured.weather_file)
    for name, events in (("flights", flights), ("weather", weather)):
        stage.eventually(
            lambda name=name, events=events: _events(stage, name) == events, f"{name} are counted"
        )
    stage.type(f"kubectl -n {NAMESPACE} get pik")
    stage.proved("every stream, answer and replay; and each event that came is counted")


def _arrive(stage: ClusterStage) -> None:
    for name, value in stage.exports.items():
        stage.typed(f"export {name}={value}")
    stage.type("kubectl get nodes")


def _helm_install(stage: ClusterStage) -> None:
    repository, _, tag = stage.place.image.rpartition(":")
    stage.type(
        f"helm install {RELEASE} charts/pik -n {SYSTEM} --wait --set clusterName={stage.place.name} \\\n"
        f"    --set image.repository={repository},image.tag={tag} \\\n"
        "    --set aws.endpointURL=$AWS_ENDPOINT_URL,aws.region=$AWS_REGION",
        lines=6,
    )


def _uids(stage: ClusterStage) -> dict[str, str]:
    """Of all of pik's objects."""
    found = json.loads(stage.kubectl("get", "pik", "-o", "json"))["items"]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["uid"] for one in found}


def _stored(stage: ClusterStage) -> dict[str, int]:
    """Objects of raw in each stream's bucket."""
    counts = {}
    for name in _STREAMS:
        bucket = _status(stage, name)["storage"]["bucket"]
        pages = stage.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{name}/raw/")
        counts[bucket] = sum(len(page.get("Contents", [])) for page in pages)
    return counts


def _stream_ids(stage: ClusterStage) -> list[str]:
    return [_status(stage, name)["streamID"] for name in _STREAMS]


def _events(stage: ClusterStage, name: str) -> int:
    return int(_status(stage, name).get("counters", {}).get("events", 0))


def _status(stage: ClusterStage, name: str) -> dict[str, Any]:
    status: dict[str, Any] = stage.resource("capturestream", name)["status"]
    return status
