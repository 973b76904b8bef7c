"""The API server as pik asks it: a request, JSON in and out, and pik's own errors.

Over the official client, which finds the cluster (in a pod, or by a kubeconfig), renews tokens and keeps
connections. It blocks, so that every call runs in a pool of threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson
import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import (
    KUBE_CONFIG_DEFAULT_LOCATION,
    ConfigException,
    load_incluster_config,
    load_kube_config,
)
from kubernetes.config.kube_config import KubeConfigMerger

from pik.cluster.errors import (
    KubeConflict,
    KubeDenied,
    KubeError,
    KubeExpired,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)
from pik.ports.system import Offload

Object = dict[str, Any]
"""An object, or a list of objects, as JSON has it."""

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_JSON = "application/json"
_USER_AGENT = "pik"
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_WATCH_SECONDS = 240  # that the API server lets a watch last; it is then begun again where it was
_QUIET_SECONDS = 60.0  # longest silence of a watch with bookmarks, some, before the connection is given up


class Api(Protocol):
    """What the rooms of `pik.cluster` need of an API server. Paths begin with `/`.

    All raise `KubeUnavailable`, `KubeDenied` and `KubeInvalid`, and those that name an object `KubeNotFound`.
    """

    async def get(self, path: str, **query: str) -> Object: ...

    async def create(self, path: str, body: Object, **query: str) -> Object:
        """Raises `KubeConflict` where one of this name is there."""
        ...

    async def replace(self, path: str, body: Object, **query: str) -> Object:
        """Raises `KubeConflict` where the body's resourceVersion is not the newest."""
        ...

    async def patch(self, path: str, body: Object, content_type: str = MERGE_PATCH, **query: str) -> Object:
        """Raises `KubeConflict` where the patch has a resourceVersion or uid that is not the object's."""
        ...

    async def delete(self, path: str, body: Object | None = None, **query: str) -> None:
        """`body`: DeleteOptions. Raises `KubeConflict` where its preconditions do not hold."""
        ...

    def watch(self, path: str, resource_version: str, **query: str) -> AsyncIterator[Object]:
        """Watch events (`type`, `object`), bookmarks too, until the API server ends the watch. Raises
        `KubeExpired` where `resource_version` is too old."""
        ...


def configuration(kubeconfig: Path | None = None, context: str | None = None) -> Configuration:
    """Which cluster, and as whom: the pod's own service account where there is one and nothing is named, else
    a kubeconfig (None: that of `KUBECONFIG` or of the home directory). Raises `KubeUnavailable`, also where
    it says to act as somebody else: the client would act as its owner, who may do more."""
    found = Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                load_incluster_config(client_configuration=found)
                return found
            except ConfigException:
                pass  # not in a pod
        file = str(kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION)
        _refuse_acting_as_another(file, context)
        load_kube_config(
            config_file=file,
            context=context,
            client_configuration=found,
            persist_config=False,
        )
    except ConfigException as error:
        raise KubeUnavailable(f"no cluster is configured: {error}") from error
    return found


def _refuse_acting_as_another(file: str, context: str | None) -> None:
    config = KubeConfigMerger(file).config
    if config is None:
        return  # the client says so in its own words
    contexts, users = ([one.value for one in config.value[item]] for item in ("contexts", "users"))
    name = context or config.value.get("current-context")
    who = next((one["context"].get("user") for one in contexts if one["name"] == name), None)
    settings = next((one.get("user") for one in users if one["name"] == who), None) or {}
    if any(option.partition("-")[0] == "as" for option in settings):  # as, as-groups, as-uid, as-user-extra
        raise KubeUnavailable(f"context {name!r} of the kubeconfig acts as another user (`as`): pik does not")


class KubeApi:
    """`Api` over a `Configuration`. Give `offload` as many threads as `connections`, and `watching` one for
    each watch that goes on at a time."""

    def __init__(
        self, config: Configuration, offload: Offload, watching: Offload, connections: int = 8
    ) -> None:
        config.connection_pool_maxsize = connections
        config.retries = urllib3.Retry(total=0, raise_on_status=False)  # who asks decides about asking again
        self._client = ApiClient(config)
        self._offload = offload
        self._watching = watching

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return str(self._client.configuration.host)

    async def get(self, path: str, **query: str) -> Object:
        return await self._ask("GET", path, query)

    async def create(self, path: str, body: Object, **query: str) -> Object:
        return await self._ask("POST", path, query, body)

    async def replace(self, path: str, body: Object, **query: str) -> Object:
        return await self._ask("PUT", path, query, body)

    async def patch(self, path: str, body: Object, content_type: str = MERGE_PATCH, **query: str) -> Object:
        return await self._ask("PATCH", path, query, body, content_type)

    async def delete(self, path: str, body: Object | None = None, **query: str) -> None:
        await self._ask("DELETE", path, query, body)

    async def watch(self, path: str, resource_version: str, **query: str) -> AsyncIterator[Object]:
        query = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        response = await self._offload(self._open, "GET", path, query, None, _JSON, _QUIET_SECONDS)
        rest = [b""]
        try:
            while (line := await self._watching(_next, response, rest)) is not None:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 500), event["object"], "")
                yield event
        except urllib3.exceptions.ReadTimeoutError as error:
            raise KubeUnavailable(f"the watch of {path} fell silent") from error
        except urllib3.exceptions.HTTPError as error:
            raise KubeUnavailable(f"the watch of {path} broke off: {error}") from error
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # the answer ended just now
                response.shutdown()  # wakes the thread that reads
            raise
        finally:
            response.close()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None = None,
        content_type: str = _JSON,
    ) -> Object:
        return await self._offload(self._call, method, path, query, body, content_type)

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, content_type: str
    ) -> Object:
        response = self._open(method, path, query, body, content_type, _ANSWER_SECONDS)
        try:
            answer: Object = orjson.loads(response.data)
        except urllib3.exceptions.HTTPError as error:
            raise KubeUnavailable(f"{method} {path}: the answer broke off: {error}") from error
        except orjson.JSONDecodeError as error:
            raise KubeUnavailable(f"{method} {path}: the answer is not of an API server") from error
        finally:
            response.release_conn()
        return answer

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        seconds: float,
    ) -> urllib3.HTTPResponse:
        """The answer, its body unread, where it is success."""
        config = self._client.configuration
        headers = {"Accept": _JSON, "Content-Type": content_type, "User-Agent": _USER_AGENT}
        for setting in config.auth_settings().values():  # renews a token where that is due
            headers[setting["key"]] = setting["value"]
        url = f"{config.host}{path}?{urlencode(query)}" if query else f"{config.host}{path}"
        try:
            answer = self._client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=(_CONNECT_SECONDS, seconds)
            )
            response: urllib3.HTTPResponse = answer.response
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return response
            told = _status(response.data)
        except ApiException as error:  # the client's own word for a TLS failure
            raise KubeUnavailable(f"{method} {path}: {error.reason}") from error
        except urllib3.exceptions.HTTPError as error:
            why = getattr(error, "reason", error)
            raise KubeUnavailable(f"{config.host} gives no answer to {method} {path}: {why}") from error
        raise _error(response.status, told, response.headers.get("Retry-After", ""))


def _next(response: urllib3.HTTPResponse, rest: list[bytes]) -> bytes | None:
    """The next line; None at the end. `rest`: what was read beyond the last one."""
    while b"\n" not in rest[0]:
        part = response.read1()
        if not part:
            return None
        rest[0] += part
    line, _, rest[0] = rest[0].partition(b"\n")
    return line


def _status(body: bytes) -> Object:
    """A `Status` object; one made up where the answer is something else, of a proxy say."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    return told if isinstance(told, dict) else {"message": body[:300].decode("utf-8", "replace")}


def _error(code: int, told: Object, retry_after: str) -> KubeError:
    message = str(told.get("message") or told.get("reason") or f"HTTP status {code}")
    match code:
        case 401 | 403:
            return KubeDenied(message)
        case 404:
            return KubeNotFound(message)
        case 409:
            return KubeConflict(message)
        case 410:
            return KubeExpired(message)
        case 400 | 405 | 413 | 415 | 422:
            return KubeInvalid(message)
    return KubeUnavailable(message, float(retry_after) if retry_after.isdigit() else None)
