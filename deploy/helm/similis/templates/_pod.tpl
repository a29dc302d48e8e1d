{{/* The parts of a Deployment's spec before its template: dict "root" $ "component" "gateway". */}}
{{- define "similis.deploymentSpec" -}}
{{- $own := index .root.Values .component -}}
{{- if and (eq (trimSuffix "%" (toString $own.strategy.maxSurge)) "0") (eq (trimSuffix "%" (toString $own.strategy.maxUnavailable)) "0") -}}
{{- fail (printf "%s.strategy would never replace a pod: maxSurge and maxUnavailable are both 0" .component) -}}
{{- end -}}
{{- if eq $own.autoscaling.kind "none" }}
replicas: {{ $own.replicas }}
{{- end }}
revisionHistoryLimit: {{ $own.revisionHistoryLimit }}
minReadySeconds: {{ $own.minReadySeconds }}
# A pod that pulls an image and loads its model must not count as stuck.
progressDeadlineSeconds: {{ add $own.startupSeconds 600 }}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxSurge: {{ $own.strategy.maxSurge }}
    maxUnavailable: {{ $own.strategy.maxUnavailable }}
selector:
  matchLabels:
    {{- include "similis.selectorLabels" . | nindent 4 }}
{{- end -}}

{{/* metadata of a pod template; a changed configuration makes new pods. */}}
{{- define "similis.podMetadata" -}}
{{- $own := index .root.Values .component -}}
labels:
  {{- /* Not the chart's version: a new chart alone makes no new pods. */}}
  {{- $labels := omit (include "similis.labels" . | fromYaml) "helm.sh/chart" }}
  {{- merge dict ($own.podLabels | default dict) $labels | toYaml | nindent 2 }}
annotations:
  {{- $checksum := include (printf "similis.%sSettings" .component) . | sha256sum }}
  {{- $defaults := dict "kubectl.kubernetes.io/default-container" .component }}
  {{- $given := merge dict ($own.podAnnotations | default dict) (.root.Values.commonAnnotations | default dict) }}
  {{- merge (dict "checksum/config" $checksum) $given $defaults | toYaml | nindent 2 }}
{{- end -}}

{{/* The defaults with what the operator gives in their place; null takes one away, as OpenShift wants of runAsUser. */}}
{{- define "similis.overridden" -}}
{{- $result := .defaults -}}
{{- range $name, $value := .given -}}
{{- if kindIs "invalid" $value -}}
{{- $result = unset $result $name -}}
{{- else -}}
{{- $result = set $result $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}

{{- define "similis.podSecurityContext" -}}
{{- $defaults := dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- include "similis.overridden" (dict "defaults" $defaults "given" .given) -}}
{{- end -}}

{{- define "similis.securityContext" -}}
{{- $defaults := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- include "similis.overridden" (dict "defaults" $defaults "given" .given) -}}
{{- end -}}

{{- define "similis.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What every pod has: dict "root" $ "component" "gateway". */}}
{{- define "similis.podSpec" -}}
{{- $own := index .root.Values .component -}}
serviceAccountName: {{ include "similis.serviceAccountName" . | quote }}
automountServiceAccountToken: false
# Else a Service named "similis" would put SIMILIS_PORT, our setting, into every pod.
enableServiceLinks: false
securityContext:
  {{- include "similis.podSecurityContext" (dict "given" $own.podSecurityContext) | nindent 2 }}
# preStop, drain and grace one after the other, and what the process itself needs to end.
terminationGracePeriodSeconds: {{ add $own.preStopSeconds $own.drainSeconds $own.shutdownGraceSeconds 10 }}
{{- include "similis.imagePullSecrets" .root }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $own.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- if $own.topologySpreadConstraints }}
  {{- toYaml $own.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "similis.selectorLabels" $ | nindent 8 }}
    # Each revision is spread for itself, not together with the one that it replaces.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
{{- end -}}

{{/* What the main container of every pod has beside its arguments, probes and mounts. */}}
{{- define "similis.container" -}}
{{- $own := index .root.Values .component -}}
{{- $suffix := "" -}}
{{- if and (hasKey $own "gpu") (dig "gpu" "enabled" false $own) -}}
{{- $suffix = $own.gpu.tagSuffix -}}
{{- end -}}
image: {{ include "similis.image" (dict "root" .root "component" .component "suffix" $suffix) }}
imagePullPolicy: {{ $own.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ include "similis.componentName" . }}
  {{- with $own.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $own.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "similis.securityContext" (dict "given" $own.securityContext) | nindent 2 }}
{{- end -}}

{{- define "similis.resources" -}}
{{- $own := index .root.Values .component -}}
{{- $resources := deepCopy ($own.resources | default dict) -}}
{{- if dig "gpu" "enabled" false $own -}}
{{- $gpus := dict "limits" (dict $own.gpu.resourceName $own.gpu.count) "requests" (dict $own.gpu.resourceName $own.gpu.count) -}}
{{- $resources = mergeOverwrite $resources $gpus -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* Endpoints are told of the end before the process is; meanwhile it still answers. */}}
{{- define "similis.lifecycle" -}}
{{- with (index .root.Values .component).preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
{{- end -}}

{{/* Probes of a gRPC service on its plain health port, as the kubelet has no certificate. */}}
{{- define "similis.grpcProbes" -}}
{{- $own := index .root.Values .component -}}
{{- $port := (include "similis.componentPorts" . | fromYaml).health -}}
startupProbe:
  grpc:
    port: {{ $port }}
    {{- if eq .component "trainer" }}
    # It waits for the schema for as long as need be; restarted, it would only wait again.
    service: liveness
    {{- end }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ max 1 (div $own.startupSeconds 2) }}
readinessProbe:
  grpc:
    port: {{ $port }}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  grpc:
    port: {{ $port }}
    # The process alone, not whether it can work now.
    service: liveness
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}
