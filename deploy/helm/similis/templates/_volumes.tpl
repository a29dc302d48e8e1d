{{/* A volume with one file from a Secret or a ConfigMap: dict "name" "postgres-ca" "value" "postgres.ca" "from" .Values.postgres.ca. */}}
{{- define "similis.caVolume" -}}
{{- if and .from.secret .from.configMap -}}
{{- fail (printf "%s: set either secret or configMap, not both" .value) -}}
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
    secretName: {{ required "postgres.existingSecret is required: set it to the name of a Secret whose key postgres.urlKey holds the URL of the database" .Values.postgres.existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.postgres.urlKey | quote }}, path: url}
{{- include "similis.caVolume" (dict "name" "postgres-ca" "value" "postgres.ca" "from" .Values.postgres.ca) }}
{{- end -}}

{{- define "similis.databaseMounts" -}}
- {name: postgres, mountPath: /etc/similis/postgres, readOnly: true}
{{- if or .Values.postgres.ca.secret .Values.postgres.ca.configMap }}
- {name: postgres-ca, mountPath: /etc/similis/postgres-ca, readOnly: true}
{{- end }}
{{- end -}}

{{/* The Secret and key of a component's Qdrant API key. The gateway only reads, so a read-only key is enough for it. */}}
{{- define "similis.qdrantKey" -}}
{{- $qdrant := .root.Values.qdrant -}}
{{- if and (eq .component "gateway") $qdrant.readOnlyApiKey.existingSecret -}}
{{- toYaml $qdrant.readOnlyApiKey -}}
{{- else -}}
{{- toYaml $qdrant.apiKey -}}
{{- end -}}
{{- end -}}

{{- define "similis.qdrantVolumes" -}}
{{- with include "similis.qdrantKey" . | fromYaml }}
{{- if .existingSecret }}
- name: qdrant
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .key | quote }}, path: api-key}
{{- end }}
{{- end }}
{{- with .root.Values.qdrant }}
{{- if .tls.enabled }}
{{- include "similis.caVolume" (dict "name" "qdrant-ca" "value" "qdrant.tls.ca" "from" .tls.ca) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "similis.qdrantMounts" -}}
{{- if (include "similis.qdrantKey" . | fromYaml).existingSecret }}
- {name: qdrant, mountPath: /etc/similis/qdrant, readOnly: true}
{{- end }}
{{- with .root.Values.qdrant }}
{{- if and .tls.enabled (or .tls.ca.secret .tls.ca.configMap) }}
- {name: qdrant-ca, mountPath: /etc/similis/qdrant-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{/* Mounted as a folder: Kubernetes does not update a single mounted file when the certificate is renewed. */}}
{{- define "similis.tlsVolumes" -}}
{{- with .Values.tls }}
{{- if .enabled }}
- name: tls
  secret:
    secretName: {{ required "tls.existingSecret is required with tls.enabled: set it to the name of a Secret with tls.crt, tls.key and ca.crt" .existingSecret | quote }}
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

{{/* The root file system is read-only, so /tmp is a volume: dict "own" .Values.gateway. */}}
{{- define "similis.tmpVolume" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .own.tmp.sizeLimit }}
{{- end -}}

{{- define "similis.tmpMount" -}}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "similis.modelClaim" -}}
{{- .Values.embedder.modelCache.existingClaim | default (printf "%s-models" (include "similis.fullname" .)) -}}
{{- end -}}

{{/*
A claim that outlives the release: dict "root" $ "component" "embedder" "name" "…" "own" (dict …) "path" "…", of the
values, "advice" "…", about another claim. Kubernetes refuses some changes in the middle of an upgrade; say so before it
begins.
*/}}
{{- define "similis.claim" -}}
{{- $own := .own -}}
{{- $advice := printf "Kubernetes cannot change an existing claim. %s" .advice -}}
{{- with lookup "v1" "PersistentVolumeClaim" .root.Release.Namespace .name -}}
{{- if ne (toJson .spec.accessModes) (toJson $own.accessModes) -}}
{{- fail (printf "%s.accessModes is %s, but the claim %q has %s. %s" $.path (toJson $own.accessModes) $.name (toJson .spec.accessModes) $advice) -}}
{{- end -}}
{{- if and $own.storageClassName (ne $own.storageClassName (.spec.storageClassName | default "")) -}}
{{- fail (printf "%s.storageClassName is %q, but the claim %q has %q. %s" $.path $own.storageClassName $.name (.spec.storageClassName | default "") $advice) -}}
{{- end -}}
{{- if and (ne .spec.resources.requests.storage $own.size) (ne (dig "status" "phase" "" .) "Bound") -}}
{{- fail (printf "%s.size is %s, but the claim %q asks for %s and is not bound to a volume yet. %s" $.path $own.size $.name .spec.resources.requests.storage $advice) -}}
{{- end -}}
{{- end -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- /* Neither an uninstallation nor a change of the values deletes what is on it. */}}
  {{- $keep := dict "helm.sh/resource-policy" "keep" }}
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" .name "annotations" (merge dict ($own.annotations | default dict) $keep)) | nindent 2 }}
spec:
  accessModes:
    {{- toYaml $own.accessModes | nindent 4 }}
  {{- with $own.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $own.size }}
{{- end -}}
