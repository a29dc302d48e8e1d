{{/* The headless Service of a gRPC component. Its name resolves to all replicas, and clients balance over them. */}}
{{- define "similis.grpcService" -}}
{{- $own := index .root.Values .component -}}
{{- $ports := include "similis.componentPorts" . | fromYaml -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "similis.metadata" (dict "root" .root "component" .component "name" (include "similis.componentName" .) "annotations" $own.service.annotations) | nindent 2 }}
spec:
  type: ClusterIP
  clusterIP: None
  selector:
    {{- include "similis.selectorLabels" . | nindent 4 }}
  ports:
    - name: grpc
      port: {{ $ports.grpc }}
      targetPort: grpc
      protocol: TCP
      appProtocol: {{ ternary "https" "kubernetes.io/h2c" .root.Values.tls.enabled }}
    - name: metrics
      port: {{ $ports.metrics }}
      targetPort: metrics
      protocol: TCP
      appProtocol: http
{{- end -}}
