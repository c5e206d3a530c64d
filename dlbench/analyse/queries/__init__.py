"""What is told of scenarios with queries: how long most of them took."""
