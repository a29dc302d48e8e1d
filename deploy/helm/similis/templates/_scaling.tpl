{{/* Fails if the autoscaling of a component cannot work. */}}
{{- define "similis.checkScaling" -}}
{{- $scaling := (index .root.Values .component).autoscaling -}}
{{- if ne $scaling.kind "none" -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas (%d) is greater than maxReplicas (%d)" .component (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq (int $scaling.minReplicas) 0) (not (and (eq $scaling.kind "keda") (eq .component "trainer"))) -}}
{{- fail (printf "%s.autoscaling.minReplicas must be at least 1. Only the trainer can scale to 0, with kind keda." .component) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "similis.horizontalPodAutoscaler" -}}
{{- $scaling := (index .root.Values .component).autoscaling -}}
{{- $name := include "similis.componentName" . -}}
{{- include "similis.checkScaling" . -}}
{{- if eq $scaling.kind "hpa" -}}
{{- with $scaling.hpa -}}
{{- if not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage .metrics) -}}
{{- fail (printf "%s.autoscaling.hpa has no metric to scale by: set a target or add metrics" $.component) -}}
{{- end -}}
{{- end -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" $name) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $name }}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    {{- range $resource, $target := dict "cpu" $scaling.hpa.targetCPUUtilizationPercentage "memory" $scaling.hpa.targetMemoryUtilizationPercentage }}
    {{- if $target }}
    - type: Resource
      resource:
        name: {{ $resource }}
        target:
          type: Utilization
          averageUtilization: {{ $target }}
    {{- end }}
    {{- end }}
    {{- with $scaling.hpa.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
The triggers of a ScaledObject. By default the trainer scales by queued and running jobs; a running job must keep its
replica. Every gateway reports the same numbers from the database, even when there is no trainer, so the query takes their
maximum.
*/}}
{{- define "similis.kedaTriggers" -}}
{{- $keda := (index .root.Values .component).autoscaling.keda -}}
{{- if $keda.triggers -}}
{{- toYaml $keda.triggers -}}
{{- else if eq .component "trainer" -}}
- type: prometheus
  metadata:
    serverAddress: {{ required "trainer.autoscaling.keda.prometheusAddress is required with kind keda, such as http://prometheus.monitoring.svc:9090" $keda.prometheusAddress | quote }}
    query: sum(max by (state) (similis_jobs{ {{- include "similis.ownSeries" .root }}, state=~"queued|running"}))
    # Treats a missing answer as an error, not as zero, so that the fallback applies and working trainers stay.
    ignoreNullValues: "false"
    threshold: {{ dig "concurrent_jobs" 1 .root.Values.trainer.settings | quote }}
{{- else -}}
{{- fail (printf "%s.autoscaling.keda.triggers is required with kind keda" .component) -}}
{{- end -}}
{{- end -}}

{{/* "true" if a trigger needs a source that may be down. KEDA refuses a fallback where all triggers are resources. */}}
{{- define "similis.kedaNeedsFallback" -}}
{{- range (include "similis.kedaTriggers" . | fromYamlArray) -}}
{{- if not (has .type (list "cpu" "memory")) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "similis.scaledObject" -}}
{{- $scaling := (index .root.Values .component).autoscaling -}}
{{- $name := include "similis.componentName" . -}}
{{- if eq $scaling.kind "keda" -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" $name) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $name }}
  minReplicaCount: {{ $scaling.minReplicas }}
  maxReplicaCount: {{ $scaling.maxReplicas }}
  pollingInterval: {{ $scaling.keda.pollingInterval }}
  cooldownPeriod: {{ $scaling.keda.cooldownPeriod }}
  {{- with $scaling.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  {{- if and $scaling.keda.fallbackReplicas (include "similis.kedaNeedsFallback" .) }}
  # Applies while the source of the metrics does not respond.
  fallback:
    failureThreshold: 3
    replicas: {{ max $scaling.keda.fallbackReplicas (int $scaling.minReplicas) }}
  {{- end }}
  triggers:
    {{- include "similis.kedaTriggers" . | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "similis.podDisruptionBudget" -}}
{{- $budget := (index .root.Values .component).podDisruptionBudget -}}
{{- if $budget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" (include "similis.componentName" .)) | nindent 2 }}
spec:
  {{- if not (kindIs "invalid" $budget.minAvailable) }}
  minAvailable: {{ $budget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- end }}
  # A pod that is not ready must not block the drain of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "similis.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}
