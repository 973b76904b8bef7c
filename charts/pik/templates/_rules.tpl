{{- /* What each may do. The comment before a rule says what it needs that for; docs/security.md has them all. */}}

{{- define "pik.operatorRules" -}}
# what is to be done
- apiGroups: [pik.dev]
  resources: [capturestreams, replayjobs, aggregateversions]
  verbs: [list, watch]
# what was found
- apiGroups: [pik.dev]
  resources: [capturestreams/status, replayjobs/status, aggregateversions/status]
  verbs: [update]
# the finalizer of a stream whose deletion removes its storage
- apiGroups: [pik.dev]
  resources: [capturestreams]
  verbs: [patch]
# a finished ReplayJob whose ttlSecondsAfterFinished is over
- apiGroups: [pik.dev]
  resources: [replayjobs]
  verbs: [delete]
# never to change one: a dry-run approval shows whether the approval policy is at work
- apiGroups: [pik.dev]
  resources: [replayjobs]
  verbs: [patch]
# what `kubectl describe` shows
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if eq .Values.executor "Jobs" }}
# workers
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
# why a worker does not work: how its pod ended, or why there is none
- apiGroups: [""]
  resources: [pods, events]
  verbs: [list]
{{- end }}
{{- end }}

{{- define "pik.operatorClusterRules" -}}
# access.from: Selector
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{- define "pik.apiServerRules" -}}
# where the API server is: no replay is sent there
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  resourceNames: [kubernetes]
  verbs: [get]
{{- end }}

{{- define "pik.leaderRules" -}}
# which replica leads; a name cannot be asked of what is not there yet
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# which replica leads
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [pik-operator]
  verbs: [get, update]
{{- end }}

{{- define "pik.gatewayRules" -}}
# where events go
- apiGroups: [pik.dev]
  resources: [capturestreams]
  verbs: [list, watch]
{{- end }}

{{- define "pik.gatewayReviewRules" -}}
# who calls: ingest.auth.type TokenReview
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# whether that one may send events
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{- define "pik.viewerRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams, replayjobs, aggregateversions]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, watch]
{{- end }}

{{- define "pik.editorRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams, replayjobs, aggregateversions]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
{{- end }}

{{/* spec.approval is a field: who writes it needs `patch`, and by the admission policy `approval` too. */}}
{{- define "pik.approverRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams]
  verbs: [get]
- apiGroups: [pik.dev]
  resources: [replayjobs]
  verbs: [get, list, watch, patch]
- apiGroups: [pik.dev]
  resources: [replayjobs/approval]
  verbs: [update]
{{- end }}

{{- define "pik.producerRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams/events]
  verbs: [create]
{{- end }}
