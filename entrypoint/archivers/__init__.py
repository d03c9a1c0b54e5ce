"""Adapters that put both archivers behind one interface, a module for each tool."""
