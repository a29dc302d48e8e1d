"""How a service runs: errors, gRPC server and clients, logs, metrics, settings, network guard."""
