"""The late flights are sent again by pods: planned, approved as RBAC has it, killed midway, sent once."""

from __future__ import annotations

from story import received
from story.kubernetes.cluster_stage import NAMESPACE, ClusterStage
from story.kubernetes.install import FILES
from story.oracle import Delay
from story.terminal import check

_HTTP, _QUEUE = "late-to-http", "late-to-queue"
_SENT = 50  # events, before the pod is killed: at 8 a second there is a checkpoint after 40
_RUN = f"sed 's/mode: DryRun/mode: Run/' {FILES}/{_HTTP}.yaml | kubectl -n {NAMESPACE} apply -f -"


def replay_the_late(stage: ClusterStage, truth: Delay) -> int:
    """Returns how many events the dashboard has received in the end."""
    with stage.chapter("The dashboard gets them again: who may say so?"):
        _open_the_dashboard(stage)
        _plan_and_approve(stage, truth)
    with stage.chapter("An Indexed Job sends them, and its pod is killed"):
        heard = _run_and_kill(stage, truth)
    with stage.chapter("Deleted, and applied again"):
        _once_more(stage, heard)
    with stage.chapter("And to the queue that feeds it, by two pods, in order"):
        _to_the_queue(stage, truth)
    return heard


def _open_the_dashboard(stage: ClusterStage) -> None:
    program = "--from-file=examples/flights/receiver.py"
    stage.type(f"kubectl -n {NAMESPACE} create configmap dashboard {program}")
    image = "" if stage.place.own else f"sed 's#pik.dev/pik:local#{stage.place.image}#' "
    file = f"{FILES}/dashboard.yaml"
    stage.type(f"{image}{file} | kubectl apply -f -" if image else f"kubectl apply -f {file}")
    stage.type(f"kubectl -n {NAMESPACE} wait --for=condition=Ready pod/dashboard --timeout=120s")


def _plan_and_approve(stage: ClusterStage, truth: Delay) -> None:
    stage.type(f"kubectl -n {NAMESPACE} apply -f {FILES}/{_HTTP}.yaml")
    planned = stage.until("replayjob", _HTTP, "Planned")
    check(planned["status"]["plan"]["matched"] == truth.late, "the plan has every late flight")
    stage.look("rj")
    check(not stage.received(), "a dry run sends nothing")
    stage.type(f"kubectl apply -f {FILES}/people.yaml")
    stage.show("approve", _HTTP, by="developer", fails=True)
    stage.show("approve", _HTTP, by="on-call")
    found = stage.resource("replayjob", _HTTP)["spec"]["approval"]
    check(found["by"] == "on-call", "the approval has the approver's own name")
    stage.proved("a developer may write replays but not approve them, says RBAC; who is on call may")


def _run_and_kill(stage: ClusterStage, truth: Delay) -> int:
    stage.type(_RUN)
    of_it = f"-l pik.dev/name={_HTTP}"
    with stage.working("8 events a second; its pod is killed after the first checkpoint"):
        stage.eventually(lambda: len(stage.received()) >= _SENT, "events are sent")
        names = stage.kubectl("get", "pods", *of_it.split(), "-o", "jsonpath={.items[*].metadata.name}")
        killing = stage.place.kill(NAMESPACE, names.split()[0])
        stage.eventually(lambda: _failed(stage, of_it), "its Job has noticed")
    before = len(stage.received())
    stage.typed(killing)
    stage.say(f"killed after {before} of {truth.late}")
    stage.type(f"kubectl -n {NAMESPACE} get jobs,pods {of_it}")
    stage.until("replayjob", _HTTP, "Complete")
    stage.type(f"kubectl -n {NAMESPACE} get jobs,pods {of_it}")
    stage.look("rj")
    stage.type(f"kubectl -n {NAMESPACE} describe rj {_HTTP} | sed -n '/^Events:/,$p'")
    stage.show("ledger", _HTTP, lines=14)
    heard = stage.received()
    held = received.hold_against_the_ledger(stage, _HTTP, truth, heard)
    check(held.checkpoint > 0, "it had come to a checkpoint")
    check(held.repeats <= before - held.checkpoint, "what came before the checkpoint does not come again")
    stage.proved(
        f"sent {truth.late} = received {held.distinct} = expected {truth.late}, each aircraft in order; it "
        f"went on from its checkpoint at {held.checkpoint}, and {held.repeats} of the {before} that were out "
        "came twice, told by their stable keys"
    )
    return len(heard)


def _failed(stage: ClusterStage, of_it: str) -> bool:
    """Whether a pod of a Job has."""
    failed = stage.kubectl("get", "jobs", *of_it.split(), "-o", "jsonpath={.items[*].status.failed}")
    return failed.strip() not in ("", "0")


def _once_more(stage: ClusterStage, heard: int) -> None:
    stage.delete("replayjob", _HTTP)
    stage.type(_RUN)
    stage.until("replayjob", _HTTP, "Complete")
    stage.look("rj")
    check(len(stage.received()) == heard, "a run is done once")
    stage.proved("its record is found, and nothing is sent")


def _to_the_queue(stage: ClusterStage, truth: Delay) -> None:
    sqs = stage.client("sqs")
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "false"}
    queue = sqs.create_queue(QueueName="late-flights.fifo", Attributes=attributes)["QueueUrl"]
    changed = f"-e 's#http://127.0.0.1:4566#{stage.endpoint}#' -e 's#^spec:#spec:\\n  mode: Run#'"
    stage.type(f"sed {changed} examples/flights/replays/{_QUEUE}.yaml | kubectl -n {NAMESPACE} apply -f -")
    stage.until("replayjob", _QUEUE, "Planned")
    stage.show("approve", _QUEUE, by="on-call", lines=1)
    stage.until("replayjob", _QUEUE, "Complete")
    stage.type(f"kubectl -n {NAMESPACE} get jobs,pods -l pik.dev/name={_QUEUE}")
    events = received.drain(sqs, queue)
    received.hold_queue_against(truth, events)
    stage.proved(f"{len(events)} messages in the queue, each aircraft in order")
