"""The user's settings: a module for each section of variables, with its rows, its value and its parser."""
