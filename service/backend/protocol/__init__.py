"""What is said between the service and a model: requests, and what answers mean."""
