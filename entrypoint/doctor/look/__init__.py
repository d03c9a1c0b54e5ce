"""Where the evidence comes from: one module for each subject, with the entries of its checks."""
