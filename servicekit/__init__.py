"""What every service needs to run: errors, gRPC servers and channels, logs, metrics, settings, limits, processes."""
