"""What runs a backbone: OpenVINO on processors, torch on CUDA."""
