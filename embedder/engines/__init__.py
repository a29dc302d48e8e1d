"""Engines that run a backbone: OpenVINO or torch on the CPU, torch on CUDA."""
