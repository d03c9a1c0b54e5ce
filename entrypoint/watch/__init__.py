"""The watch: it runs the checks on a clock, notes what began and ended, and shows and sends that."""
