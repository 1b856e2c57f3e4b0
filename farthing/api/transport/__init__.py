"""What every HTTP request passes: body, limits, address, the end of its transaction, headers, logs and metrics."""
