{{/* The ports that containers listen on, for containers, Services, probes and policies. */}}
{{- define "similis.ports" -}}
gateway: {http: 8080, metrics: 9090}
embedder: {grpc: 9001, metrics: 9091, health: 9101}
trainer: {grpc: 9002, metrics: 9092, health: 9102}
{{- end -}}

{{/* The ports of one component as YAML: dict "component" "gateway". */}}
{{- define "similis.componentPorts" -}}
{{- get (include "similis.ports" . | fromYaml) .component | toYaml -}}
{{- end -}}

{{- define "similis.containerPorts" -}}
{{- range $name, $port := include "similis.componentPorts" . | fromYaml }}
- name: {{ $name }}
  containerPort: {{ $port }}
  protocol: TCP
{{- end }}
{{- end -}}

{{/* The port of an http or https URL: its own, or the default of the scheme. */}}
{{- define "similis.urlPort" -}}
{{- regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" .)) -}}
{{- end -}}

{{/* The port of Qdrant's gRPC API, from its address. */}}
{{- define "similis.qdrantPort" -}}
{{- regexFind "[0-9]+$" .Values.qdrant.address -}}
{{- end -}}
