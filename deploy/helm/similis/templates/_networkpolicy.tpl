{{/*
Addresses outside the cluster, without cloud metadata services and, unless "private" is true, without private addresses.
IPv4-mapped addresses (::ffff:0:0/96) need no entry: they never travel as IPv6, and the API server refuses them here.
*/}}
{{- define "similis.world" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except:
      - 169.254.0.0/16
      - 127.0.0.0/8
      # Metadata services of Azure, Oracle and Alibaba.
      - 168.63.129.16/32
      - 192.0.0.0/24
      {{- if .private }}
      - 100.100.100.200/32
      {{- else }}
      - 10.0.0.0/8
      - 100.64.0.0/10
      - 172.16.0.0/12
      - 192.168.0.0/16
      {{- end }}
- ipBlock:
    cidr: ::/0
    except:
      - fe80::/10
      # Addresses that embed an IPv4 address: all of 6to4, and the NAT64 forms of the blocks above.
      - 2002::/16
      - 64:ff9b::a9fe:0/112
      - 64:ff9b::a83f:8110/128
      - 64:ff9b:1::/48
      {{- if .private }}
      - fd00:ec2::254/128
      - fd20:ce::254/128
      {{- else }}
      - 64:ff9b::a00:0/104
      - 64:ff9b::6440:0/106
      - 64:ff9b::ac10:0/108
      - 64:ff9b::c0a8:0/112
      - fc00::/7
      {{- end }}
{{- end -}}

{{- define "similis.egressDns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end -}}

{{- define "similis.egressPostgres" -}}
- to:
    {{- toYaml .Values.networkPolicy.postgres.to | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.postgres.port }}}
{{- end -}}

{{- define "similis.egressQdrant" -}}
- to:
    {{- toYaml .Values.networkPolicy.qdrant.to | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ include "similis.qdrantPort" . }}}
{{- end -}}

{{- define "similis.egressTracing" -}}
{{- if .Values.tracing.enabled }}
- to:
    {{- toYaml .Values.networkPolicy.tracing.to | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ include "similis.urlPort" .Values.tracing.endpoint }}}
{{- end }}
{{- end -}}

{{/* Egress to another component: dict "root" $ "to" "embedder" "port" "grpc". */}}
{{- define "similis.egressComponent" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "similis.selectorLabels" (dict "root" .root "component" .to) | nindent 10 }}
  ports:
    - {protocol: TCP, port: {{ get (get (include "similis.ports" . | fromYaml) .to) .port }}}
{{- end -}}

{{/* Ingress from other components: dict "root" $ "component" "embedder" "from" (list "gateway" "trainer") "port" "grpc". */}}
{{- define "similis.ingressComponents" -}}
- from:
    {{- range .from }}
    - podSelector:
        matchLabels:
          {{- include "similis.selectorLabels" (dict "root" $.root "component" .) | nindent 10 }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ get (include "similis.componentPorts" . | fromYaml) .port }}}
{{- end -}}

{{- define "similis.ingressMetrics" -}}
- from:
    {{- toYaml .root.Values.networkPolicy.metrics.from | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ (include "similis.componentPorts" . | fromYaml).metrics }}}
{{- end -}}

{{/* The part of a component's policy before its rules. */}}
{{- define "similis.networkPolicyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" (include "similis.componentName" .) "annotations" (.annotations | default dict)) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "similis.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end -}}
