{{/*
Annotations that make an object a hook: dict "hook" "pre-install,pre-upgrade" "weight" "0" "policy" "…". Helm prints the
log of a hook that failed. Argo CD would run install hooks before all other objects; as hooks of the sync phase they run
after the extraObjects of an earlier wave and before everything of wave 0.
*/}}
{{- define "similis.hookAnnotations" -}}
helm.sh/hook: {{ .hook }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: {{ .policy }}
helm.sh/hook-output-log-policy: hook-failed
{{- if contains "pre-install" .hook }}
argocd.argoproj.io/hook: Sync
argocd.argoproj.io/hook-delete-policy: {{ ternary "BeforeHookCreation,HookSucceeded" "BeforeHookCreation" (contains "hook-succeeded" .policy) }}
argocd.argoproj.io/sync-wave: {{ ternary "-1" "-2" (eq .weight "0") | quote }}
{{- end }}
{{- end -}}

{{/* Annotations of the migration Job, which stays for inspection when it fails, until the next run. */}}
{{- define "similis.migrateAnnotations" -}}
{{- if eq .Values.migrate.mode "hook" -}}
{{- include "similis.hookAnnotations" (dict "hook" "pre-install,pre-upgrade" "weight" "0" "policy" "before-hook-creation,hook-succeeded") -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/*
Annotations of the objects that the migration Job needs. They must outlive a Job that still retries when Helm gives up,
so its failure does not remove them. similis.migrateCleanup removes them.
*/}}
{{- define "similis.migrateSupportAnnotations" -}}
{{- if eq .Values.migrate.mode "hook" -}}
{{- include "similis.hookAnnotations" (dict "hook" "pre-install,pre-upgrade" "weight" "-10" "policy" "before-hook-creation") -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/*
Annotations of a second copy of such an object. Helm replaces the first copy with it, and deletes it, after a successful
installation or upgrade and after an uninstallation.
*/}}
{{- define "similis.migrateCleanup" -}}
{{- include "similis.hookAnnotations" (dict "hook" "post-install,post-upgrade,post-delete" "weight" "0" "policy" "before-hook-creation,hook-succeeded") -}}
{{- end -}}

{{/*
Name of the migration Job. As an ordinary object it needs a new name for each revision, because Kubernetes does not
change the pod template of a Job.
*/}}
{{- define "similis.migrateJobName" -}}
{{- $name := include "similis.componentName" (dict "root" . "component" "migrate") -}}
{{- ternary $name (printf "%s-%d" $name .Release.Revision) (eq .Values.migrate.mode "hook") -}}
{{- end -}}

{{/*
Runs a command against the database: dict "root" $ "name" "migrate" "args" (list …) "resources" (dict …). "settings" are
further variables, "mounts" further mounts.
*/}}
{{- define "similis.databaseContainer" -}}
- name: {{ .name }}
  image: {{ include "similis.image" (dict "root" .root "component" "gateway") }}
  imagePullPolicy: {{ .root.Values.gateway.image.pullPolicy }}
  args:
    {{- toYaml .args | nindent 4 }}
  env:
    - {name: SIMILIS_LOG_LEVEL, value: {{ .root.Values.logLevel }}}
    - {name: SIMILIS_LOG_FORMAT, value: json}
    {{- range $name, $value := merge (include "similis.databaseSettings" .root | fromYaml) (.settings | default dict) }}
    - {name: {{ $name }}, value: {{ $value | quote }}}
    {{- end }}
  # `kubectl describe` then shows the end of the log as the reason for a failure.
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- include "similis.securityContext" (dict "given" .root.Values.gateway.securityContext) | nindent 4 }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  volumeMounts:
    {{- include "similis.tmpMount" .root | nindent 4 }}
    {{- include "similis.databaseMounts" .root | trim | nindent 4 }}
    {{- with .mounts }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The ServiceAccount of the migration Job: dict "root" $ "annotations" (dict …). */}}
{{- define "similis.migrateServiceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "similis.metadata" (merge (dict "component" "migrate" "name" (include "similis.componentName" (dict "root" .root "component" "migrate"))) .) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}

{{/* The NetworkPolicy of the migration Job: dict "root" $ "annotations" (dict …). */}}
{{- define "similis.migrateNetworkPolicy" -}}
{{- include "similis.networkPolicyHead" (merge (dict "component" "migrate") .) }}
  ingress: []
  egress:
    {{- include "similis.egressDns" .root | nindent 4 }}
    {{- include "similis.egressPostgres" .root | nindent 4 }}
{{- end -}}
