{{/* Short name of the chart. */}}
{{- define "similis.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{/*
A name of at most "length" characters: dict "name" "…" "length" 46. A longer name is cut and ends with a hash of the whole
name, so that two long names that begin alike stay different.
*/}}
{{- define "similis.shortened" -}}
{{- if le (len .name) (int .length) -}}
{{- .name | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.name | trunc (int (sub .length 9)) | trimSuffix "-") (.name | sha256sum | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* The prefix of all names of this release. 46 characters leave room for the longest suffix within 63. */}}
{{- define "similis.fullname" -}}
{{- $name := include "similis.name" . -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- include "similis.shortened" (dict "name" $full "length" 46) -}}
{{- end -}}

{{/*
Name of an object that may live in another namespace, next to those of other releases: dict "root" $ "name" "…"
"namespace" "monitoring". There the release's own namespace is part of the name.
*/}}
{{- define "similis.foreignName" -}}
{{- if or (not .namespace) (eq .namespace .root.Release.Namespace) -}}
{{- .name -}}
{{- else -}}
{{- include "similis.shortened" (dict "name" (printf "%s-%s" .root.Release.Namespace .name) "length" 63) -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component: dict "root" $ "component" "gateway". */}}
{{- define "similis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "similis.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The chart's own labels of a component's objects. */}}
{{- define "similis.ownLabels" -}}
{{ include "similis.selectorLabels" . }}
app.kubernetes.io/part-of: similis
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* All labels of a component's objects. The operator's labels take precedence. */}}
{{- define "similis.labels" -}}
{{- merge dict (.root.Values.commonLabels | default dict) (include "similis.ownLabels" . | fromYaml) | toYaml -}}
{{- end -}}

{{/*
Metadata of an object: dict "root" $ "component" "gateway" "name" "…-gateway". "namespace", "labels" and "annotations"
are optional.
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

{{/* Name of the Secret that holds the first API key. */}}
{{- define "similis.apiKeySecret" -}}
{{- .Values.apiKey.existingSecret | default (printf "%s-api-key" (include "similis.fullname" .)) -}}
{{- end -}}

{{/*
Name of a component's image without its tag. The chart insists on a registry: without one, the container runtime would
pull from its default registry, where anybody could publish an image of that name.
*/}}
{{- define "similis.repository" -}}
{{- $repository := (index .root.Values .component).image.repository -}}
{{- /* Container runtimes recognise a registry by the same rule. */}}
{{- if regexMatch "^(localhost|[^/]*[.:][^/]*)/" $repository -}}
{{- $repository -}}
{{- else -}}
{{- $registry := .root.Values.global.imageRegistry | required "global.imageRegistry is required: set it to the registry that you pushed the images to, such as registry.example.org. Set it to docker.io if the images are already on the nodes." -}}
{{- printf "%s/%s" (trimSuffix "/" $registry) $repository -}}
{{- end -}}
{{- end -}}

{{/* The image of a component: dict "root" $ "component" "gateway". An optional "suffix" is added to the default tag. */}}
{{- define "similis.image" -}}
{{- $own := (index .root.Values .component).image -}}
{{- $image := printf "%s:%s" (include "similis.repository" .) ($own.tag | default (printf "%s%s" .root.Chart.AppVersion (.suffix | default ""))) -}}
{{- with $own.digest -}}
{{- $image = printf "%s@%s" $image . -}}
{{- end -}}
{{- $image -}}
{{- end -}}

{{/* host:port for a gRPC listener, with an IPv6 address in brackets: dict "host" "::" "port" 9001. */}}
{{- define "similis.listen" -}}
{{- if contains ":" .host -}}[{{ .host }}]:{{ .port }}{{- else -}}{{ .host }}:{{ .port }}{{- end -}}
{{- end -}}

{{/*
The address that the HTTP servers listen on. Python binds "::" to IPv6 only, and an empty host to both address families;
gRPC binds "[::]" to both.
*/}}
{{- define "similis.httpHost" -}}
{{- if ne .Values.listenAddress "::" -}}{{ .Values.listenAddress }}{{- end -}}
{{- end -}}

{{/* Where clients find the replicas of a component. The name resolves to all of them, and clients balance. */}}
{{- define "similis.grpcAddress" -}}
{{- printf "dns:///%s.%s.svc:%s" (include "similis.componentName" .) .root.Release.Namespace .port -}}
{{- end -}}

{{/* PromQL matchers for the series of this release, with the labels that the ServiceMonitor adds. */}}
{{- define "similis.ownSeries" -}}
{{- printf "namespace=%q, release=%q" .Release.Namespace .Release.Name -}}
{{- end -}}
