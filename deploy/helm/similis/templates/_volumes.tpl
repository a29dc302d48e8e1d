{{/* A volume of one file from a Secret or a ConfigMap: dict "name" "postgres-ca" "from" (secret, configMap, key) "path" "ca.crt". */}}
{{- define "similis.caVolume" -}}
{{- if and .from.secret .from.configMap -}}
{{- fail (printf "%s: name a Secret or a ConfigMap, not both" .name) -}}
{{- end -}}
{{- if .from.secret }}
- name: {{ .name }}
  secret:
    secretName: {{ .from.secret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .from.key | quote }}, path: ca.crt}
{{- else if .from.configMap }}
- name: {{ .name }}
  configMap:
    name: {{ .from.configMap | quote }}
    items:
      - {key: {{ .from.key | quote }}, path: ca.crt}
{{- end }}
{{- end -}}

{{- define "similis.databaseVolumes" -}}
- name: postgres
  secret:
    secretName: {{ required "postgres.existingSecret is required: the Secret whose key postgres.urlKey holds the URL of the database" .Values.postgres.existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.postgres.urlKey | quote }}, path: url}
{{- include "similis.caVolume" (dict "name" "postgres-ca" "from" .Values.postgres.ca) }}
{{- end -}}

{{- define "similis.databaseMounts" -}}
- {name: postgres, mountPath: /etc/similis/postgres, readOnly: true}
{{- if or .Values.postgres.ca.secret .Values.postgres.ca.configMap }}
- {name: postgres-ca, mountPath: /etc/similis/postgres-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "similis.qdrantVolumes" -}}
{{- with .Values.qdrant }}
{{- if .apiKey.existingSecret }}
- name: qdrant
  secret:
    secretName: {{ .apiKey.existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .apiKey.key | quote }}, path: api-key}
{{- end }}
{{- if .tls.enabled }}
{{- include "similis.caVolume" (dict "name" "qdrant-ca" "from" .tls.ca) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "similis.qdrantMounts" -}}
{{- with .Values.qdrant }}
{{- if .apiKey.existingSecret }}
- {name: qdrant, mountPath: /etc/similis/qdrant, readOnly: true}
{{- end }}
{{- if and .tls.enabled (or .tls.ca.secret .tls.ca.configMap) }}
- {name: qdrant-ca, mountPath: /etc/similis/qdrant-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{/* Mounted as a folder, as a file alone would not follow a renewed certificate. */}}
{{- define "similis.tlsVolumes" -}}
{{- with .Values.tls }}
{{- if .enabled }}
- name: tls
  secret:
    secretName: {{ required "tls.existingSecret is required with tls.enabled: a Secret with tls.crt, tls.key and ca.crt" .existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .certKey | quote }}, path: tls.crt}
      - {key: {{ .keyKey | quote }}, path: tls.key}
      - {key: {{ .caKey | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- end -}}

{{- define "similis.tlsMounts" -}}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/similis/tls, readOnly: true}
{{- end }}
{{- end -}}

{{/* The root file system is read-only. */}}
{{- define "similis.tmpVolume" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- end -}}

{{- define "similis.tmpMount" -}}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "similis.modelClaim" -}}
{{- .Values.embedder.modelCache.existingClaim | default (printf "%s-models" (include "similis.fullname" .)) -}}
{{- end -}}
