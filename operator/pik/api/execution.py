"""How the pods that do the work of an object run: in its namespace, and with the rights of a ServiceAccount
there."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pik.api.common import Name, Value
from pik.api.labels import KEYS_ARE_LABELS, LabelValue
from pik.api.rules import Rule, rules

_QUANTITY = r"^([0-9]{1,15}(\.[0-9]{1,9})?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


class _IntOrString:
    """As the API server knows a field that is a whole number or a text."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 2**53 - 1,
            "maxLength": 32,
            "pattern": _QUANTITY,
        }


Quantity = Annotated[
    Annotated[int, Field(ge=0, le=2**53 - 1)]
    | Annotated[str, StringConstraints(max_length=32, pattern=_QUANTITY)],
    _IntOrString(),
]
"""An amount of a resource: `2`, `500m`, `1Gi`."""

Memory = Annotated[str, StringConstraints(max_length=8, pattern=r"^([1-9][0-9]{2,5}Mi|[1-9][0-9]{0,3}Gi)$")]
"""100Mi to 9999Gi."""


class Amounts(Value):
    # named as in a container of Kubernetes, and no resource that no worker would use
    cpu: Quantity | None = Field(default=None, description="CPUs, such as 500m or 2.")
    memory: Quantity | None = Field(default=None, description="Bytes of memory, such as 512Mi or 2Gi.")
    ephemeral_storage: Quantity | None = Field(
        default=None, alias="ephemeral-storage", description="Bytes of local disk, such as 1Gi."
    )


class Resources(Value):
    requests: Amounts | None = Field(
        default=None, description="What the scheduler sets aside. Absent: what the installation sets."
    )
    limits: Amounts | None = Field(
        default=None, description="What the pod may use at most. Absent: what the installation sets."
    )


_OWN_LABELS = (
    *("app.kubernetes.io/name", "app.kubernetes.io/managed-by", "app.kubernetes.io/component"),
    *("job-name", "controller-uid"),
)
_LABELS_OF_OTHERS = Rule(
    "self.all(key, !key.startsWith('pik.dev/') && !key.startsWith('batch.kubernetes.io/')"
    f" && !(key in {list(_OWN_LABELS)}))",
    "keys must not be labels that pik and Kubernetes set themselves: pik.dev/*, batch.kubernetes.io/*, "
    + ", ".join(_OWN_LABELS),
)


class Execution(Value):
    serviceAccountName: Name | None = Field(
        default=None,
        description="ServiceAccount of this namespace that the pods run as; what it may do in AWS is what "
        "the work may do. Absent: default.",
    )
    resources: Resources | None = Field(
        default=None, description="CPU, memory and disk of a pod. Absent: what the installation sets."
    )
    podLabels: Annotated[dict[str, LabelValue], Field(min_length=1, max_length=16)] | None = Field(
        default=None,
        description="Labels of the pods beside pik's own, for network policies or cost reports.",
        json_schema_extra=rules(KEYS_ARE_LABELS, _LABELS_OF_OTHERS),
    )
    priorityClassName: Name | None = Field(
        default=None, description="PriorityClass of the pods. Absent: the cluster's default."
    )


class AthenaExecution(Value):
    workGroup: (
        Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-zA-Z0-9._-]{1,128}$")] | None
    ) = Field(
        default=None,
        description="Work group of Athena in which the queries run, with its limits of cost and its place "
        "for results. Absent: primary.",
    )


class AggregateExecution(Execution):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.memory) || !has(self.resources) ||"
                " ((!has(self.resources.requests) || !has(self.resources.requests.memory))"
                " && (!has(self.resources.limits) || !has(self.resources.limits.memory)))",
                "must not be given beside resources.requests.memory and resources.limits.memory, which it "
                "stands for",
                "memory",
            )
        )
    )

    memory: Memory | None = Field(
        default=None,
        description="Memory of the computation, 100Mi to 9999Gi; a pod requests it and may use no more. "
        "After OutOfMemory it is tried again with more, once more is given. Absent: what the installation "
        "sets.",
    )
    athena: AthenaExecution | None = Field(default=None, description="Of engine Athena: how its queries run.")
