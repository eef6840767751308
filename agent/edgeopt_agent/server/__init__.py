"""The agent's gRPC services. Each translates: requests to calls, exceptions to statuses."""
