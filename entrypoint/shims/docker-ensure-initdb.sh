#!/bin/sh
# docker-ensure-initdb.sh: create the database if there is none, then exit; an existing database is a success.
# docker-enforce-initdb.sh (a link to this file): the same, but an existing database is an error.
exec entrypoint internal ensure-initdb "$(basename "$0")" "$@"
