{{/* Short name of the chart. */}}
{{- define "similis.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{/* What every name of this release begins with: 46 characters leave room for the longest suffix in 63. */}}
{{- define "similis.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "similis.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component: dict "root" $ "component" "gateway". */}}
{{- define "similis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "similis.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels that a component's objects have of the chart. */}}
{{- define "similis.ownLabels" -}}
{{ include "similis.selectorLabels" . }}
app.kubernetes.io/part-of: similis
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* All labels of a component's objects. */}}
{{- define "similis.labels" -}}
{{- merge dict (.root.Values.commonLabels | default dict) (include "similis.ownLabels" . | fromYaml) | toYaml -}}
{{- end -}}

{{/*
metadata of an object: dict "root" $ "component" "gateway" "name" "…-gateway", and if wanted "namespace", "labels" and
"annotations" (dicts).
*/}}
{{- define "similis.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .namespace | default .root.Release.Namespace | quote }}
labels:
  {{- $labels := include "similis.labels" . | fromYaml }}
  {{- merge dict (.labels | default dict) $labels | toYaml | nindent 2 }}
{{- with merge dict (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Name of a component's objects. */}}
{{- define "similis.componentName" -}}
{{- printf "%s-%s" (include "similis.fullname" .root) .component -}}
{{- end -}}

{{- define "similis.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (include "similis.componentName" .) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the first API key. */}}
{{- define "similis.apiKeySecret" -}}
{{- .Values.apiKey.existingSecret | default (printf "%s-api-key" (include "similis.fullname" .)) -}}
{{- end -}}

{{/*
Name of a component's image without its tag. A name without a registry would mean the cluster's default one, mostly a
public one, where anybody could have put an image of that name.
*/}}
{{- define "similis.repository" -}}
{{- $repository := (index .root.Values .component).image.repository -}}
{{- /* As container runtimes tell a registry from the first part of a path. */}}
{{- if regexMatch "^(localhost|[^/]*[.:][^/]*)/" $repository -}}
{{- $repository -}}
{{- else -}}
{{- $registry := .root.Values.global.imageRegistry | required "global.imageRegistry is required: the registry that you have pushed the images to, e.g. registry.example.org; docker.io where nodes have them already" -}}
{{- printf "%s/%s" (trimSuffix "/" $registry) $repository -}}
{{- end -}}
{{- end -}}

{{/* The image of a component: dict "root" $ "component" "gateway", and if wanted "suffix" for the default tag. */}}
{{- define "similis.image" -}}
{{- $own := (index .root.Values .component).image -}}
{{- $image := printf "%s:%s" (include "similis.repository" .) ($own.tag | default (printf "%s%s" .root.Chart.AppVersion (.suffix | default ""))) -}}
{{- with $own.digest -}}
{{- $image = printf "%s@%s" $image . -}}
{{- end -}}
{{- $image -}}
{{- end -}}

{{/* host:port as a listener wants it, with an IPv6 address in brackets: dict "host" "::" "port" 9001. */}}
{{- define "similis.listen" -}}
{{- if contains ":" .host -}}[{{ .host }}]:{{ .port }}{{- else -}}{{ .host }}:{{ .port }}{{- end -}}
{{- end -}}

{{/* Where clients find a component's replicas; DNS answers with all of them, so that clients balance. */}}
{{- define "similis.grpcAddress" -}}
{{- printf "dns:///%s.%s.svc:%s" (include "similis.componentName" .) .root.Release.Namespace .port -}}
{{- end -}}

{{/* Matchers of PromQL for the series of this release, as the ServiceMonitor labels them. */}}
{{- define "similis.ownSeries" -}}
{{- printf "namespace=%q, release=%q" .Release.Namespace .Release.Name -}}
{{- end -}}
