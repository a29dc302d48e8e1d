"""What runs a backbone: ONNX Runtime on processors, torch on CUDA."""
