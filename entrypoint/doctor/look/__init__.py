"""Gathers the evidence: one module for each subject, with the entries of its checks."""
