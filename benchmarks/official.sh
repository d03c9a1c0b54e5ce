#!/usr/bin/env bash
# Repeats what the official image's script does, step by step and with the same programs, so that a benchmark can compare a
# start with it without the original file. For benchmarks only: this script does not handle unusual cases.
set -Eeo pipefail
shopt -s nullglob

file_env() {
	local var=$1 file=${1}_FILE value=${2:-}
	if [ "${!var:-}" ]; then
		value=${!var}
	elif [ "${!file:-}" ]; then
		value=$(<"${!file}")
	fi
	export "$var"="$value"
	unset "$file"
}

prepare_environment() {
	file_env POSTGRES_PASSWORD
	file_env POSTGRES_USER postgres
	file_env POSTGRES_DB "$POSTGRES_USER"
	file_env POSTGRES_INITDB_ARGS
	: "${POSTGRES_HOST_AUTH_METHOD:=}"
	exists=
	if [ -s "$PGDATA/PG_VERSION" ]; then exists=true; fi
}

prepare_folders() {
	local user
	user=$(id -u)
	mkdir -p "$PGDATA"
	chmod 00700 "$PGDATA"
	mkdir -p /var/run/postgresql
	chmod 03775 /var/run/postgresql
	if [ "$user" = 0 ]; then
		find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
		find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
	fi
}

make_cluster() {
	getent passwd "$(id -u)" >/dev/null
	eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"$POSTGRES_INITDB_ARGS"
	local auth
	auth=$(postgres -C password_encryption)
	printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-$auth}" >>"$PGDATA/pg_hba.conf"
}

sql() {
	PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc \
		${POSTGRES_DB:+--dbname "$POSTGRES_DB"} "$@"
}

make_database() {
	local found
	# shellcheck disable=SC2097,SC2098
	found=$(POSTGRES_DB='' sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only \
		<<<"SELECT 1 FROM pg_database WHERE datname = :'db' ;")
	if [ -z "$found" ]; then
		# shellcheck disable=SC2097,SC2098
		POSTGRES_DB='' sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db" ;'
	fi
}

run_init_files() {
	local f
	for f in /docker-entrypoint-initdb.d/*; do
		printf '%s: running %s\n' "$0" "$f"
		# shellcheck disable=SC1090
		case $f in
		*.sh) if [ -x "$f" ]; then "$f"; else . "$f"; fi ;;
		*.sql) sql -f "$f" ;;
		*.sql.gz) gunzip -c "$f" | sql ;;
		*.sql.xz) xzcat "$f" | sql ;;
		*.sql.zst) zstd -dc "$f" | sql ;;
		esac
		printf '\n'
	done
}

main() {
	if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
	if [ "$1" = postgres ]; then
		prepare_environment
		prepare_folders
		if [ "$(id -u)" = 0 ]; then exec gosu postgres "${BASH_SOURCE[0]}" "$@"; fi
		if [ -z "$exists" ]; then
			ls /docker-entrypoint-initdb.d/ >/dev/null
			make_cluster
			export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
			NOTIFY_SOCKET='' PGUSER=${PGUSER:-$POSTGRES_USER} \
				pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p ${PGPORT:-5432}" -w start
			make_database
			run_init_files
			PGUSER=${PGUSER:-postgres} pg_ctl -D "$PGDATA" -m fast -w stop
			unset PGPASSWORD
			printf '\nPostgreSQL init process complete; ready for start up.\n\n'
		else
			printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
		fi
		unset "${!POSTGRES_@}"
	fi
	exec "$@"
}

main "$@"
