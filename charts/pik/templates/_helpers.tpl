{{/* What is installed, by its release: a release "pik" gives pik-operator and pik-gateway. */}}
{{- define "pik.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "pik.clusterName" -}}
{{- required "clusterName is required: it names this cluster in the owner records of buckets. Choose one and keep it for the cluster's life, such as --set clusterName=prod-eu" .Values.clusterName -}}
{{- end }}

{{- define "pik.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{/* Labels of every object. */}}
{{- define "pik.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: pik
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* What a component's pods are found by. Takes (list $ "operator"). Workers have no instance. */}}
{{- define "pik.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: pik
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The labels of a component's own objects. Takes (list $ "operator"). */}}
{{- define "pik.componentLabels" -}}
{{ include "pik.labels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Takes (list $ "operator"). */}}
{{- define "pik.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $given := (index $root.Values $component).serviceAccount -}}
{{- if $given.create -}}
{{- default (printf "%s-%s" (include "pik.fullname" $root) $component) $given.name -}}
{{- else -}}
{{- required (printf "%s.serviceAccount.name is required where %s.serviceAccount.create is false" $component $component) $given.name -}}
{{- end -}}
{{- end }}

{{/* Base URL of the gateway's Service. */}}
{{- define "pik.gatewayService" -}}
{{- $port := int .Values.gateway.service.port -}}
{{- $scheme := ternary "https" "http" (ne .Values.gateway.tls.secretName "") -}}
{{- $usual := ternary 443 80 (eq $scheme "https") -}}
{{- printf "%s://%s-gateway.%s.svc%s" $scheme (include "pik.fullname" .) .Release.Namespace (ternary "" (printf ":%d" $port) (eq $port $usual)) -}}
{{- end }}

{{/* Base URL under which producers reach the gateway. */}}
{{- define "pik.gatewayURL" -}}
{{- default (include "pik.gatewayService" .) .Values.gateway.url -}}
{{- end }}

{{/* "true" where the gateway asks the API server who calls, which is a right over the whole cluster. */}}
{{- define "pik.tokenReview" -}}
{{- $given := .Values.gateway.authentication.tokenReview -}}
{{- if or (eq $given "Enabled") (and (eq $given "Auto") (not .Values.watchNamespaces)) -}}true{{- end -}}
{{- end }}

{{/* Environment of both processes. */}}
{{- define "pik.env" -}}
- name: PIK_CLUSTER
  value: {{ include "pik.clusterName" . | quote }}
{{- with .Values.watchNamespaces }}
- name: PIK_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: PIK_METRICS_PORT
  value: "8080"
- name: PIK_LOG_LEVEL
  value: {{ .Values.logs.level }}
- name: PIK_LOG_FORMAT
  value: {{ .Values.logs.format }}
- name: PIK_ROLE_MAP
  value: /etc/pik/roles.yaml
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.aws.endpointURL }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Health of both processes, which they tell on the port of their metrics. */}}
{{- define "pik.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{- define "pik.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pik.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where pods go. Takes (list $ "operator"). */}}
{{- define "pik.scheduling" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "pik.selector" . | nindent 8 }}
{{- end }}
{{- end }}
