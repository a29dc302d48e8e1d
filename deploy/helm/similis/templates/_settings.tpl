{{/* The settings that all three services share, as environment variables. */}}
{{- define "similis.commonSettings" -}}
{{- $values := .root.Values -}}
{{- $own := index $values .component -}}
SIMILIS_LOG_LEVEL: {{ $values.logLevel }}
SIMILIS_LOG_FORMAT: json
SIMILIS_DRAIN_SECONDS: {{ $own.drainSeconds | quote }}
SIMILIS_SHUTDOWN_GRACE_SECONDS: {{ $own.shutdownGraceSeconds | quote }}
SIMILIS_METRICS_HOST: {{ include "similis.httpHost" .root | quote }}
SIMILIS_METRICS_PORT: {{ (include "similis.componentPorts" . | fromYaml).metrics | quote }}
{{- if $values.tls.enabled }}
SIMILIS_TLS_CERT_FILE: /etc/similis/tls/tls.crt
SIMILIS_TLS_KEY_FILE: /etc/similis/tls/tls.key
SIMILIS_TLS_CA_FILE: /etc/similis/tls/ca.crt
{{- with $values.tls.serverName }}
SIMILIS_TLS_SERVER_NAME: {{ . | quote }}
{{- end }}
{{- end }}
{{- if $values.tracing.enabled }}
SIMILIS_TRACING: "true"
OTEL_EXPORTER_OTLP_ENDPOINT: {{ required "tracing.endpoint is required with tracing.enabled: set it to the URL of an OTLP collector" $values.tracing.endpoint }}
OTEL_SERVICE_NAME: similis-{{ .component }}
{{- end }}
{{- end -}}

{{/* How to reach Postgres. The URL itself is a mounted file. */}}
{{- define "similis.databaseSettings" -}}
SIMILIS_DATABASE_URL_FILE: /etc/similis/postgres/url
{{- if or .Values.postgres.ca.secret .Values.postgres.ca.configMap }}
SIMILIS_DATABASE_CA_FILE: /etc/similis/postgres-ca/ca.crt
{{- end }}
{{- end -}}

{{/* How to reach Qdrant: dict "root" $ "component" "gateway". */}}
{{- define "similis.qdrantSettings" -}}
{{- with .root.Values.qdrant -}}
{{- if and (or .tls.ca.secret .tls.ca.configMap) (not .tls.enabled) -}}
{{- fail "qdrant.tls.ca has no effect without TLS: set qdrant.tls.enabled to true" -}}
{{- end -}}
{{- $address := required "qdrant.address is required: set it to host:port of Qdrant's gRPC API, such as qdrant.qdrant.svc:6334" .address -}}
{{- if hasSuffix ":6333" $address -}}
{{- fail (printf "qdrant.address %q names port 6333, where Qdrant serves its REST API. Use the gRPC port, which is 6334 by default." $address) -}}
{{- end -}}
SIMILIS_QDRANT_ADDRESS: {{ $address | quote }}
SIMILIS_VECTOR_PREFIX: {{ .vectorPrefix | quote }}
SIMILIS_QDRANT_TLS: {{ .tls.enabled | quote }}
{{- if and .tls.enabled (or .tls.ca.secret .tls.ca.configMap) }}
SIMILIS_QDRANT_CA_FILE: /etc/similis/qdrant-ca/ca.crt
{{- end }}
{{- end }}
{{- if (include "similis.qdrantKey" . | fromYaml).existingSecret }}
SIMILIS_QDRANT_API_KEY_FILE: /etc/similis/qdrant/api-key
{{- end }}
{{- end -}}

{{/* A component's further settings from the operator's values, as environment variables. */}}
{{- define "similis.ownSettings" -}}
{{- range $name, $value := (index .root.Values .component).settings }}
{{- if kindIs "float64" $value }}
SIMILIS_{{ upper $name }}: {{ if eq $value (floor $value) }}{{ printf "%.0f" $value | quote }}{{ else }}{{ toString $value | quote }}{{ end }}
{{- else }}
SIMILIS_{{ upper $name }}: {{ toString $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "similis.gatewaySettings" -}}
{{ include "similis.commonSettings" . }}
SIMILIS_HOST: {{ include "similis.httpHost" .root | quote }}
SIMILIS_PORT: {{ (include "similis.componentPorts" . | fromYaml).http | quote }}
{{ include "similis.databaseSettings" .root }}
{{ include "similis.qdrantSettings" . }}
{{- $ports := include "similis.ports" . | fromYaml }}
SIMILIS_EMBEDDER_ADDRESS: {{ include "similis.grpcAddress" (dict "root" .root "component" "embedder" "port" (toString $ports.embedder.grpc)) }}
SIMILIS_TRAINER_ADDRESS: {{ include "similis.grpcAddress" (dict "root" .root "component" "trainer" "port" (toString $ports.trainer.grpc)) }}
{{- with .root.Values.gateway }}
SIMILIS_HEIDICON_URL: {{ .heidicon.url | quote }}
SIMILIS_CORS_ORIGINS: {{ .corsOrigins | quote }}
SIMILIS_READ_KEY_REQUIRED: {{ .readKeyRequired | quote }}
SIMILIS_FETCH_IMAGE_URLS: {{ .imageUrls.enabled | quote }}
SIMILIS_SERVE_THUMBNAILS: {{ .thumbnails.enabled | quote }}
{{- end }}
SIMILIS_ALLOW_PRIVATE_ADDRESSES: {{ .root.Values.trainer.allowPrivateAddresses | quote }}
{{- with .root.Values.trainer.settings.download_contact }}
{{- if not (hasKey $.root.Values.gateway.settings "download_contact") }}
SIMILIS_DOWNLOAD_CONTACT: {{ . | quote }}
{{- end }}
{{- end }}
SIMILIS_SPOOL_DIRECTORY: /var/spool/similis
SIMILIS_VOLUME_LIMIT: {{ .root.Values.gateway.spool.sizeLimit | quote }}
{{- include "similis.ownSettings" . }}
{{- end -}}

{{/* The settings that gRPC servers share. */}}
{{- define "similis.grpcSettings" -}}
{{- $ports := include "similis.componentPorts" . | fromYaml -}}
SIMILIS_LISTEN: {{ include "similis.listen" (dict "host" .root.Values.listenAddress "port" $ports.grpc) | quote }}
SIMILIS_HEALTH_PORT: {{ $ports.health | quote }}
{{- end -}}

{{- define "similis.embedderSettings" -}}
{{ include "similis.commonSettings" . }}
{{ include "similis.grpcSettings" . }}
{{- with .root.Values.embedder }}
{{- if and (contains "/" .backbone.name) (not (hasPrefix "/" .backbone.name)) (not .backbone.revision) -}}
{{- fail (printf "embedder.backbone.revision is required for %q, a model on the hub: set it to a full commit hash, so that all embedders load the same weights" .backbone.name) -}}
{{- end }}
SIMILIS_BACKBONE: {{ .backbone.name | quote }}
{{- with .backbone.revision }}
SIMILIS_BACKBONE_REVISION: {{ . | quote }}
{{- end }}
SIMILIS_DEVICE: {{ ternary "cuda" "cpu" .gpu.enabled }}
{{- end }}
SIMILIS_MODEL_CACHE: /var/cache/similis/converted
{{- with .root.Values.embedder.modelCache }}
{{- if eq .kind "emptyDir" }}
SIMILIS_VOLUME_LIMIT: {{ .sizeLimit | quote }}
{{- end }}
{{- end }}
HF_HOME: /var/cache/similis/hub
{{- include "similis.ownSettings" . }}
{{- end -}}

{{- define "similis.trainerSettings" -}}
{{ include "similis.commonSettings" . }}
{{ include "similis.grpcSettings" . }}
{{ include "similis.databaseSettings" .root }}
{{ include "similis.qdrantSettings" . }}
{{- $ports := include "similis.ports" . | fromYaml }}
SIMILIS_EMBEDDER_ADDRESS: {{ include "similis.grpcAddress" (dict "root" .root "component" "embedder" "port" (toString $ports.embedder.grpc)) }}
SIMILIS_ALLOW_PRIVATE_ADDRESSES: {{ .root.Values.trainer.allowPrivateAddresses | quote }}
SIMILIS_VOLUME_LIMIT: {{ .root.Values.trainer.tmp.sizeLimit | quote }}
{{- include "similis.ownSettings" . }}
{{- end -}}

{{/* The ConfigMap of a component: dict "root" $ "component" "gateway". */}}
{{- define "similis.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" (include "similis.componentName" .)) | nindent 2 }}
data:
  {{- include (printf "similis.%sSettings" .component) . | nindent 2 }}
{{- end -}}
