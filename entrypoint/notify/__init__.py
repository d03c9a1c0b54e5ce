"""Messages to people, and pings to services that notice silence."""
