{{/*
Annotations of what the migrations need. They run before the release's own objects are made or changed, and go when they
succeeded; after a failure they stay, to be looked at, until the next run.
*/}}
{{- define "similis.hookAnnotations" -}}
helm.sh/hook: {{ .hook | default "pre-install,pre-upgrade" }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: {{ .policy | default "before-hook-creation,hook-succeeded" }}
{{- end -}}

{{/* Runs a command against the database: dict "root" $ "name" "migrate" "args" (list …). */}}
{{- define "similis.databaseContainer" -}}
- name: {{ .name }}
  image: {{ include "similis.image" (dict "root" .root "component" "gateway") }}
  imagePullPolicy: {{ .root.Values.gateway.image.pullPolicy }}
  args:
    {{- toYaml .args | nindent 4 }}
  env:
    - {name: SIMILIS_LOG_LEVEL, value: {{ .root.Values.logLevel }}}
    - {name: SIMILIS_LOG_FORMAT, value: json}
    {{- range $name, $value := include "similis.databaseSettings" .root | fromYaml }}
    - {name: {{ $name }}, value: {{ $value }}}
    {{- end }}
  securityContext:
    {{- include "similis.securityContext" (dict "given" .root.Values.gateway.securityContext) | nindent 4 }}
  resources:
    {{- toYaml .root.Values.migrate.resources | nindent 4 }}
  volumeMounts:
    {{- include "similis.tmpMount" .root | nindent 4 }}
    {{- include "similis.databaseMounts" .root | trim | nindent 4 }}
    {{- if .apiKey }}
    - {name: api-key, mountPath: /etc/similis/api-key, readOnly: true}
    {{- end }}
{{- end -}}
