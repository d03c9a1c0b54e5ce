"""The server's settings: what sets them and which value wins, who archives, and how a standby follows."""
