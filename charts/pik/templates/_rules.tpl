{{/* What the operator may do where it reconciles. */}}
{{- define "pik.operatorRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams, replayjobs, aggregateversions]
  verbs: [get, list, watch]
- apiGroups: [pik.dev]
  resources: [capturestreams/status, replayjobs/status, aggregateversions/status]
  verbs: [update]
# the finalizer of a stream whose deletion removes its storage
- apiGroups: [pik.dev]
  resources: [capturestreams]
  verbs: [patch]
# ttlSecondsAfterFinished
- apiGroups: [pik.dev]
  resources: [replayjobs]
  verbs: [delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if eq .Values.executor "Jobs" }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# why a pod ended
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- end }}

{{/* What the gateway may do where it takes events. */}}
{{- define "pik.gatewayRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams]
  verbs: [get, list, watch]
{{- end }}

{{- define "pik.viewerRules" -}}
- apiGroups: [pik.dev]
  resources: [capturestreams, replayjobs, aggregateversions]
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
