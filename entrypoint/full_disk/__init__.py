"""A disk that fills up: what is given up, who may still write, and what fills it."""
