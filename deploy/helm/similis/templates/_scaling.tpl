{{/* Fails where the autoscaling of a component cannot work. */}}
{{- define "similis.checkScaling" -}}
{{- $scaling := (index .root.Values .component).autoscaling -}}
{{- if ne $scaling.kind "none" -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas is more than maxReplicas" .component) -}}
{{- end -}}
{{- if and (eq (int $scaling.minReplicas) 0) (not (and (eq $scaling.kind "keda") (eq .component "trainer"))) -}}
{{- fail (printf "%s.autoscaling.minReplicas cannot be 0: only the trainer, with kind keda, can start from none" .component) -}}
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
{{- fail (printf "%s.autoscaling.hpa has nothing to scale by: set a target or metrics" $.component) -}}
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
What KEDA scales by. The trainer's default counts the jobs that wait or run (one that runs must keep its replica); every
gateway shows the same numbers, from the database, so they are there without a trainer, and the largest is taken.
*/}}
{{- define "similis.kedaTriggers" -}}
{{- $keda := (index .root.Values .component).autoscaling.keda -}}
{{- if $keda.triggers -}}
{{- toYaml $keda.triggers -}}
{{- else if eq .component "trainer" -}}
- type: prometheus
  metadata:
    serverAddress: {{ required "trainer.autoscaling.keda.prometheusAddress is required with kind keda, e.g. http://prometheus.monitoring.svc:9090" $keda.prometheusAddress | quote }}
    query: sum(max by (state) (similis_jobs{ {{- include "similis.ownSeries" .root }}, state=~"queued|running"}))
    # No answer is no zero: the fallback then counts, and nobody who works is taken away.
    ignoreNullValues: "false"
    threshold: {{ dig "concurrent_jobs" 1 .root.Values.trainer.settings | quote }}
{{- else -}}
{{- fail (printf "%s.autoscaling.keda.triggers is required with kind keda" .component) -}}
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
  {{- if and (eq .component "trainer") (not $scaling.keda.triggers) }}
  # Jobs go on while Prometheus does not answer, or no gateway knows of them.
  fallback:
    failureThreshold: 3
    replicas: {{ max 1 (int $scaling.minReplicas) }}
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
  # A pod that is not ready protects nothing, and must not hold up the draining of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "similis.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}
