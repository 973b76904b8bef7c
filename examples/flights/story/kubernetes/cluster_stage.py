"""A cluster: `kubectl`, `helm` and `pik`, as a person types them in a shell at the root of the project."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.text import Text
from story.kubernetes.place import PROJECT, Forward, Place, is_reached
from story.received import Event, of_lines
from story.stage import PIK, REGION, Stage, plain_environment
from story.terminal import StoryBroken, check

from cluster.errors import CommandFailed

SYSTEM, NAMESPACE, RELEASE = "pik-system", "flights", "pik"
_SHORT = {"capturestream": "cst", "replayjob": "rj", "aggregateversion": "av"}


class ClusterStage(Stage):
    """Commands are shell lines here, run as they are shown."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._place: Place | None = None
        self._gateway = ""
        self._forward: Forward | None = None

    def move_to(self, place: Place) -> None:
        self._place = place

    @property
    def place(self) -> Place:
        check(self._place is not None, "there is a cluster")
        assert self._place is not None
        return self._place

    @property
    def environ(self) -> Mapping[str, str]:
        plain = plain_environment()
        path = [str(PIK.parent), *map(str, self.place.programs), plain.get("PATH", "")]
        own = {"KUBECONFIG": str(self.place.cluster.kubeconfig), "PATH": os.pathsep.join(path)}
        return {**plain, **self.exports, **own}

    @property
    def exports(self) -> dict[str, str]:
        """What a person exports before typing the rest."""
        told = {"KUBECONFIG": _relative(str(self.place.cluster.kubeconfig))}
        told |= {"AWS_ENDPOINT_URL": self.place.aws, "AWS_REGION": REGION}
        return told | ({"GATEWAY": self._gateway} if self._gateway else {})

    @property
    def endpoint(self) -> str:
        return self.place.aws

    @property
    def where(self) -> tuple[str, ...]:
        return ("-n", NAMESPACE)

    def type(self, line: str, *, lines: int | None = None, fails: bool = False) -> str:
        """Runs a line in a shell, shows it and what it printed (its first `lines`), and returns that."""
        command = ["bash", "-o", "pipefail", "-c", line]
        return self.run(line, command, self.environ, cwd=PROJECT, lines=lines, fails=fails)

    def show(
        self, *arguments: str, lines: int | None = None, fails: bool = False, by: str | None = None
    ) -> str:
        """`by`: a person of the cluster, with a kubeconfig of their own."""
        whose = ("--kubeconfig", str(self._kubeconfig_of(by))) if by else ()
        words = [shlex.quote(_relative(word)) for word in (*whose, *self.where, *arguments)]
        return self.type(" ".join(["pik", *words]), lines=lines, fails=fails)

    def kubectl(self, *words: str, namespace: str = NAMESPACE) -> str:
        """What kubectl prints, without showing it. Raises `StoryBroken`."""
        try:
            return self.place.cluster.kubectl("-n", namespace, *words)
        except CommandFailed as failed:
            raise StoryBroken(f"kubectl {' '.join(words)}: {failed}") from failed

    def received(self) -> list[Event]:
        """What the dashboard has heard."""
        return of_lines(self.kubectl("logs", "dashboard"))

    def eventually(self, holds: Callable[[], bool], promise: str, *, seconds: float = 180) -> None:
        """Waits for it. Raises `StoryBroken`."""
        deadline = time.monotonic() + seconds
        while not holds():
            check(time.monotonic() < deadline, promise)
            time.sleep(0.2)

    # objects

    def apply(self, manifest: Path) -> None:
        self.type(f"kubectl -n {NAMESPACE} apply -f {_relative(str(manifest))}")

    def look(self, kind: str, name: str | None = None) -> None:
        self.type(" ".join([f"kubectl -n {NAMESPACE} get {_short(kind)}", *([name] if name else [])]))

    def delete(self, kind: str, name: str) -> None:
        self.type(f"kubectl -n {NAMESPACE} delete {_short(kind)} {name}")

    def resource(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def until(self, kind: str, name: str, condition: str, *, seconds: float = 180) -> dict[str, Any]:
        line = f"kubectl -n {NAMESPACE} wait --for=condition={condition} {_short(kind)}/{name}"
        try:
            self.type(f"{line} --timeout={seconds:.0f}s")
        except StoryBroken as not_there:
            there = self.kubectl("describe", kind, name)
            raise StoryBroken(f"{kind} {name} is not {condition}:\n{there}") from not_there
        return self.resource(kind, name)

    def feed(self, file: Path, stream: str) -> str:
        what = f"{_relative(str(file))} --stream {stream} --null NA"
        return self.type(f"pik -n {NAMESPACE} import {what} --gateway $GATEWAY")

    # the gateway

    def find_the_gateway(self) -> None:
        """Its Service's address, or where that is not reached from here, a port-forward."""
        words = ["get", "service", f"{RELEASE}-gateway", "-o", "jsonpath={.spec.clusterIP}"]
        address = self.kubectl(*words, namespace=SYSTEM).strip()
        if is_reached(f"http://{address}"):
            self._gateway = f"http://{address}"
            asked = f"kubectl -n {SYSTEM} {shlex.join(words)}"
            self.typed(f"export GATEWAY=http://$({asked})")
            self.say(
                f"{self._gateway}: the Service's own address; kube-proxy leads it to a pod of the gateway"
            )
            return
        self._forward = Forward(self.environ)
        self._gateway = self._forward.start(SYSTEM, f"{RELEASE}-gateway")
        self.say(
            f"[bold cyan]$ kubectl -n {SYSTEM} port-forward service/{RELEASE}-gateway …:80 &[/bold cyan]"
        )
        self.say(
            f"{self._gateway}: a port-forward; the Service's address ({address}) is not reached from here"
        )

    def leave_the_gateway(self) -> None:
        """Before it is gone, and found anew."""
        if self._forward is not None:
            self._forward.stop()
            self._forward = None
        self._gateway = ""

    # the end

    def down(self, *, keep: bool) -> None:
        """Ends what was started; `keep`: but for the cluster."""
        if self._forward is not None:
            self.leave_the_gateway()
        if self._place is not None and not keep:
            self._place.end()

    def broken(self, broken: StoryBroken) -> None:
        """Says what does not hold, and what pik said."""
        self.say("\n[bold red]A promise does not hold:[/bold red]")
        self.console.print(Text(str(broken)))
        if self._place is not None:
            for component in ("operator", "gateway", "test"):
                path = self.home / f"{component}.log"
                selector = f"app.kubernetes.io/component={component}"
                words = ["logs", "-l", selector, "--prefix", "--tail=-1"]
                with suppress(StoryBroken):
                    if said := self.kubectl(*words, namespace=SYSTEM):
                        path.write_text(said)
                        self.say(f"What its {component} said is in {os.path.relpath(path)}")

    def farewell(self, seconds: float, *, keep: bool) -> None:
        """What is left, and what to try next."""
        self.end(seconds)
        if not keep and self.place.own:
            again = "make demo-k8s DEMO=--keep"
            self.say(f"\nThe cluster is gone, and its AWS emulator with it. To look around in one: {again}")
            return
        self.say("\nEverything goes on. To look around, at the root of the project:")
        path = [PIK.parent, *self.place.programs]
        home = ":".join(dict.fromkeys(_relative(str(one)) for one in path))
        commands = [f"export {name}={value}" for name, value in self.exports.items()]
        commands += [
            f"export PATH={home}:$PATH",
            f"kubectl -n {NAMESPACE} get pik",
            f"kubectl -n {NAMESPACE} describe rj late-to-http",
            f"pik -n {NAMESPACE} diff delay-at-midnight delay-finally --by payload.origin",
            f"pik -n {NAMESPACE} inspect gaps weather",
        ]
        self.next_commands(commands)
        if self.place.own:
            self.say(f"The cluster and its AWS emulator end by: kill {self.place.keeper}")
        else:
            undo = f"helm uninstall {RELEASE} -n {SYSTEM}; kubectl delete namespace {NAMESPACE} {SYSTEM}"
            self.say(f"To undo it all, but for the CRDs: {undo}")

    def _kubeconfig_of(self, person: str) -> Path:
        path = self.home / "people" / person
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            self.place.cluster.kubeconfig_for(person).rename(path)
        return path


def _relative(word: str) -> str:
    """A path in the project as seen from its root; other words as they are."""
    path = Path(word)
    return str(path.relative_to(PROJECT)) if path.is_absolute() and path.is_relative_to(PROJECT) else word


def _short(kind: str) -> str:
    return _SHORT.get(kind.rstrip("s"), kind)
