"""AWS Lambda in memory: functions with their versions, which say by themselves whether they are well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from pik.domain.errors import FunctionUnhealthy, Throttled, Unusable
from pik.memory.hooks import Hook, unhooked
from pik.planning.functions import (
    CreateFunction,
    FunctionAction,
    Live,
    ObservedFunction,
    ObservedURL,
    Release,
    RemoveURL,
    SetConcurrency,
    SetFunctionTags,
    SetURL,
    UpdateCode,
    UpdateSettings,
    Version,
)

_ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


@dataclass
class MemoryLambda:
    """`ailing`: what is wrong with a version; None: it is well. `packages`: codes that are where they are
    said to be; None: all are. Tests may change all of it."""

    functions: dict[str, ObservedFunction] = field(default_factory=dict)
    published: dict[str, list[Version]] = field(default_factory=dict)
    ailing: Callable[[Version], str | None] = lambda _: None
    packages: set[str] | None = None


class MemoryFunctions:
    """`ports.FunctionProvisioner` over a `MemoryLambda`."""

    def __init__(self, account: MemoryLambda, before: Hook = unhooked) -> None:
        self._account = account
        self._before = before

    async def function(self, name: str) -> ObservedFunction | None:
        await self._before("functions.function")
        return self._account.functions.get(name)

    async def apply(self, action: FunctionAction) -> None:
        await self._before("functions.apply")
        account, name = self._account, action.function
        if isinstance(action, CreateFunction):
            self._check_code(action.code.key, action.code.sha256)
            made = ObservedFunction(
                f"{_ARN}{name}", Version(action.code.sha256, action.settings), action.tags
            )
            account.functions.setdefault(name, made)
        else:
            account.functions[name] = self._changed(account.functions[name], action)

    async def delete_function(self, name: str) -> None:
        await self._before("functions.delete")
        self._account.functions.pop(name, None)
        self._account.published.pop(name, None)

    def _changed(
        self,
        there: ObservedFunction,
        action: UpdateCode | UpdateSettings | Release | SetConcurrency | SetURL | RemoveURL | SetFunctionTags,
    ) -> ObservedFunction:
        replace = msgspec.structs.replace
        match action:
            case UpdateCode():
                self._check_code(action.code.key, action.code.sha256)
                settings = replace(there.newest.settings, architecture=action.architecture)
                return replace(there, newest=Version(action.code.sha256, settings))
            case UpdateSettings():
                return replace(there, newest=replace(there.newest, settings=action.settings))
            case Release():
                if there.concurrency == 0:
                    raise Throttled(f"{action.function} may not be asked while its concurrency is 0")
                return replace(there, live=self._released(action.function, there.newest))
            case SetConcurrency():
                return replace(there, concurrency=action.reserved)
            case SetURL():
                url = ObservedURL(f"https://{action.function}.lambda-url/", action.auth, open=True)
                return replace(there, url=url)
            case RemoveURL():
                return replace(there, url=None)
            case SetFunctionTags():
                return replace(there, tags={**there.tags, **action.tags})
            case _:
                assert_never(action)

    def _released(self, name: str, version: Version) -> Live:
        versions = self._account.published.setdefault(name, [])
        if not versions or versions[-1] != version:
            versions.append(version)
        why = self._account.ailing(version)
        if why is not None:
            raise FunctionUnhealthy(f"version {len(versions)} of {name} gets no events: {why}")
        return Live(str(len(versions)), version)

    def _check_code(self, key: str, sha256: str) -> None:
        if self._account.packages is not None and key not in self._account.packages:
            raise Unusable(f"the code is not {sha256}: there is no {key}")
