"""Charts of scenarios with queries: how long most of them took, and how that depends on how many come."""
