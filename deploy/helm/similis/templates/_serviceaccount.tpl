{{/* A ServiceAccount without a token, because the services do not use the Kubernetes API. */}}
{{- define "similis.serviceAccount" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" (include "similis.serviceAccountName" .) "annotations" $account.annotations) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}
