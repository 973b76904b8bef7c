"""What an API server answers, as pik's own errors: nobody above `cluster.api` sees another library's."""

from __future__ import annotations

from pik.domain.errors import KubernetesRefused, KubernetesUnavailable, PikError


class KubeError(PikError):
    """An answer of the API server that is not success; the text is its own message."""


class KubeUnavailable(KubeError, KubernetesUnavailable):
    """It does not answer, is throttling, or met an error of its own: the same request may succeed later."""


class KubeNotFound(KubeError):
    """There is no such object, or no such kind of objects."""


class KubeConflict(KubeError):
    """The object is another one by now: a newer resourceVersion, another uid, or a field that another manager
    owns; or one of this name is there already."""


class KubeDenied(KubeError, KubernetesRefused):
    """Authentication, RBAC or an admission policy refuses it. `reason`: of the answer's `status`."""


class KubeInvalid(KubeError, KubernetesRefused):
    """The object is not one that the API server stores; the text has every cause."""


class KubeExpired(KubeError):
    """The resourceVersion to watch from is too old: list again."""
