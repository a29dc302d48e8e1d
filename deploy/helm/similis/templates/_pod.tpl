{{/*
The number of pods. An autoscaler owns it, so the chart then repeats the current number: without it, Helm would remove the
field on the upgrade that turns autoscaling on, and Kubernetes would scale down to one pod.
*/}}
{{- define "similis.replicas" -}}
{{- $own := index .root.Values .component -}}
{{- if eq $own.autoscaling.kind "none" -}}
replicas: {{ $own.replicas }}
{{- else -}}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace (include "similis.componentName" .) -}}
replicas: {{ .spec.replicas }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The part of a Deployment's spec before its template: dict "root" $ "component" "gateway". */}}
{{- define "similis.deploymentSpec" -}}
{{- $own := index .root.Values .component -}}
{{- if and (eq (trimSuffix "%" (toString $own.strategy.maxSurge)) "0") (eq (trimSuffix "%" (toString $own.strategy.maxUnavailable)) "0") -}}
{{- fail (printf "%s.strategy: maxSurge and maxUnavailable are both 0, so a rollout could never replace a pod. Set one of them to 1." .component) -}}
{{- end -}}
{{- include "similis.replicas" . }}
revisionHistoryLimit: {{ $own.revisionHistoryLimit }}
minReadySeconds: {{ $own.minReadySeconds }}
# Leaves time to pull the image and to load the model.
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

{{/* Metadata of a pod template. A changed ConfigMap changes the checksum, which replaces the pods. */}}
{{- define "similis.podMetadata" -}}
{{- $own := index .root.Values .component -}}
labels:
  {{- /* Without the chart's version: a new chart alone must not replace pods. */}}
  {{- $labels := omit (include "similis.labels" . | fromYaml) "helm.sh/chart" }}
  {{- merge dict ($own.podLabels | default dict) $labels | toYaml | nindent 2 }}
annotations:
  {{- $checksum := include (printf "similis.%sSettings" .component) . | sha256sum }}
  {{- $defaults := dict "kubectl.kubernetes.io/default-container" .component }}
  {{- $given := merge dict ($own.podAnnotations | default dict) (.root.Values.commonAnnotations | default dict) }}
  {{- merge (dict "checksum/config" $checksum) $given $defaults | toYaml | nindent 2 }}
{{- end -}}

{{/* The defaults, overridden by the operator's values. A null removes a field; OpenShift needs that for runAsUser. */}}
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

{{/* How a pod resolves names: dict "own" .Values.gateway. */}}
{{- define "similis.podDns" -}}
{{- with .own.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The part of a pod's spec that all services share: dict "root" $ "component" "gateway". */}}
{{- define "similis.podSpec" -}}
{{- $own := index .root.Values .component -}}
serviceAccountName: {{ include "similis.serviceAccountName" . | quote }}
automountServiceAccountToken: false
# A Service named "similis" would otherwise add SIMILIS_PORT to the environment, which is one of our settings.
enableServiceLinks: false
securityContext:
  {{- include "similis.podSecurityContext" (dict "given" $own.podSecurityContext) | nindent 2 }}
# preStop, drain and grace run one after the other; then the process needs a moment to exit.
terminationGracePeriodSeconds: {{ add $own.preStopSeconds $own.drainSeconds $own.shutdownGraceSeconds 10 }}
{{- include "similis.imagePullSecrets" .root }}
{{- include "similis.podDns" (dict "own" $own) }}
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
    # Spreads each revision by itself, without counting the pods that it replaces.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
{{- end -}}

{{/* The part of a service's container beside its arguments, probes and mounts. */}}
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

{{/* The pod keeps serving while the cluster removes it from the endpoints. */}}
{{- define "similis.lifecycle" -}}
{{- with (index .root.Values .component).preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
{{- end -}}

{{/*
The probes of a service: dict "root" $ "component" "gateway" "startup" (dict …) "readiness" (dict …) "liveness" (dict …),
which hold the action of each probe. The operator's values change how often they run, not what they ask.
*/}}
{{- define "similis.probes" -}}
{{- $own := index .root.Values .component -}}
{{- $startup := dict "periodSeconds" 2 "timeoutSeconds" 2 "failureThreshold" (max 1 (div $own.startupSeconds 2)) -}}
startupProbe:
  {{- merge dict $startup .startup | toYaml | nindent 2 }}
readinessProbe:
  {{- merge dict .readiness ($own.probes.readiness | default dict) | toYaml | nindent 2 }}
livenessProbe:
  {{- merge dict .liveness ($own.probes.liveness | default dict) | toYaml | nindent 2 }}
{{- end -}}

{{/*
Probes of the gateway. Liveness asks only whether the process answers, because a restart does not repair another part.
Readiness asks for this gateway alone: without the parts behind it, it still tells callers what is missing.
*/}}
{{- define "similis.gatewayProbes" -}}
{{- $health := dict "httpGet" (dict "path" "/healthz" "port" "http") -}}
{{- $ready := dict "httpGet" (dict "path" "/readyz/gateway" "port" "http") -}}
{{- include "similis.probes" (merge (dict "startup" $health "readiness" $ready "liveness" $health) .) -}}
{{- end -}}

{{/*
Probes of a gRPC service on its plain health port, because the kubelet has no certificate. Liveness asks for the process
alone. So does the trainer's startup probe: a trainer waits for the database's schema, and a restart would not help.
*/}}
{{- define "similis.grpcProbes" -}}
{{- $port := (include "similis.componentPorts" . | fromYaml).health | int -}}
{{- $alive := dict "grpc" (dict "port" $port "service" "liveness") -}}
{{- $ready := dict "grpc" (dict "port" $port) -}}
{{- $startup := ternary $alive $ready (eq .component "trainer") -}}
{{- include "similis.probes" (merge (dict "startup" $startup "readiness" $ready "liveness" $alive) .) -}}
{{- end -}}
