"""Adapters: one file per framework, each the only place where its framework is imported."""
