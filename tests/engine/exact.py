"""onnxruntime as a witness: it may not round activations to int8, as it does by default."""

from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.backends.onnx_films import import_onnxruntime


def exact_session(model):
    """Open a graph, by its path or its bytes."""
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class ExactBackend(OnnxCpuBackend):
    """The bundle's graphs with activations in float32."""

    def session(self, role):
        return exact_session(str(self.bundle.path(role)))
