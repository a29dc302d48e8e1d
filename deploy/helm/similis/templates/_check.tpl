{{/*
A pod of `helm test` that runs `similis check` with the settings of a service: dict "root" $ "component" "trainer". The
gateway's image checks both, so that no large image is pulled for it.
*/}}
{{- define "similis.checkPod" -}}
{{- if .root.Values.test.enabled -}}
{{- $test := dict "root" .root "component" "test" -}}
{{- $hook := include "similis.hookAnnotations" (dict "hook" "test" "weight" "-5" "policy" "before-hook-creation,hook-succeeded") | fromYaml -}}
{{- $own := index .root.Values .component -}}
{{- $gateway := .root.Values.gateway -}}
{{- $seconds := .root.Values.test.deadlineSeconds -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "similis.metadata" (merge (dict "name" (printf "%s-%s" (include "similis.componentName" $test) .component) "annotations" $hook) $test) | nindent 2 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "similis.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  activeDeadlineSeconds: {{ $seconds }}
  securityContext:
    {{- include "similis.podSecurityContext" (dict "given" $own.podSecurityContext) | nindent 4 }}
  {{- with include "similis.imagePullSecrets" .root | trim }}{{ . | nindent 2 }}{{ end }}
  {{- with include "similis.podDns" (dict "own" $own) | trim }}{{ . | nindent 2 }}{{ end }}
  {{- with $gateway.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $gateway.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: check
      image: {{ include "similis.image" (dict "root" .root "component" "gateway") }}
      imagePullPolicy: {{ $gateway.image.pullPolicy }}
      args: [similis, check, {{ .component }}, --wait, {{ sub $seconds 30 | quote }}]
      envFrom:
        - configMapRef:
            name: {{ include "similis.componentName" . }}
        {{- with $own.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $own.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "similis.securityContext" (dict "given" $own.securityContext) | nindent 8 }}
      # The limit is that of the service, because the check judges it.
      resources:
        requests: {cpu: 50m, memory: 128Mi}
        limits: {cpu: 500m, memory: {{ dig "resources" "limits" "memory" "512Mi" $own }}}
      volumeMounts:
        {{- include "similis.tmpMount" .root | nindent 8 }}
        {{- if eq .component "gateway" }}
        - {name: spool, mountPath: /var/spool/similis}
        {{- end }}
        {{- include "similis.databaseMounts" .root | trim | nindent 8 }}
        {{- with include "similis.qdrantMounts" . | trim }}{{ . | nindent 8 }}{{ end }}
        {{- with include "similis.tlsMounts" .root | trim }}{{ . | nindent 8 }}{{ end }}
        {{- with $own.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "similis.tmpVolume" (dict "own" $own) | nindent 4 }}
    {{- if eq .component "gateway" }}
    - name: spool
      emptyDir:
        sizeLimit: {{ $own.spool.sizeLimit }}
    {{- end }}
    {{- include "similis.databaseVolumes" .root | trim | nindent 4 }}
    {{- with include "similis.qdrantVolumes" . | trim }}{{ . | nindent 4 }}{{ end }}
    {{- with include "similis.tlsVolumes" .root | trim }}{{ . | nindent 4 }}{{ end }}
    {{- with $own.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}
