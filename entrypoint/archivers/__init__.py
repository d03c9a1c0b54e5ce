"""The archivers behind one interface: one file for each tool."""
