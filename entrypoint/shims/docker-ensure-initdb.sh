#!/bin/sh
# docker-ensure-initdb.sh: make the database if there is none, then end; nothing to do is success.
# docker-enforce-initdb.sh (a link to this file): the same, but an existing database is an error.
exec entrypoint internal ensure-initdb "$(basename "$0")" "$@"
