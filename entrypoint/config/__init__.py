"""Who sets which setting of the server, and what it gets: also who archives, and what a standby follows."""
