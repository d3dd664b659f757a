"""The soak of serving: clients of every call while models and processes come and go."""
