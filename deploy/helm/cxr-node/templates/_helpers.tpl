{{- /* names and ports that several manifests share */ -}}

{{- define "cxr-node.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cxr-node.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cxr-node.labels" -}}
{{ include "cxr-node.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "cxr-node.dicomPort" -}}
{{- dig "node" "port" 11112 .Values.config | int -}}
{{- end -}}

{{- define "cxr-node.metricsPort" -}}
{{- dig "node" "metrics" "port" 9043 .Values.config | int -}}
{{- end -}}

{{- define "cxr-node.webPort" -}}
{{- if dig "node" "web" "enabled" false .Values.config -}}
{{- dig "node" "web" "port" 8043 .Values.config | int -}}
{{- end -}}
{{- end -}}
