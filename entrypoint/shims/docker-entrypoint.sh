#!/usr/bin/env bash
# The functions of the official image's script, for init files and for scripts that source this file. When executed,
# this file runs the entrypoint program. The program does everything that need not happen in the caller's own shell.
set -Eeo pipefail

# The unchanged copy of this file in the image. Derived images replace this file, or change a line of it.
_entrypoint_original=/usr/local/lib/nix-postgres/entrypoint/shims/docker-entrypoint.sh

# file_env VARIABLE [DEFAULT]: keep the value of VARIABLE, else read it from the file VARIABLE_FILE, else use DEFAULT.
file_env() {
	local name=$1 file=${1}_FILE value=${2:-}
	if [[ -n ${!name:-} && -n ${!file:-} ]]; then
		printf 'error: both %s and %s are set (but are exclusive)\n' "$name" "$file" >&2
		exit 1
	fi
	if [[ -n ${!name:-} ]]; then
		value=${!name}
	elif [[ -n ${!file:-} ]]; then
		value=$(<"${!file}")
	fi
	export "$name=$value"
	unset "$file"
}

_is_sourced() {
	[[ ${FUNCNAME[1]:-} == source ]]
}

docker_setup_env() {
	file_env POSTGRES_PASSWORD
	file_env POSTGRES_USER postgres
	file_env POSTGRES_DB "$POSTGRES_USER"
	file_env POSTGRES_INITDB_ARGS
	export POSTGRES_HOST_AUTH_METHOD=${POSTGRES_HOST_AUTH_METHOD:-}

	declare -g DATABASE_ALREADY_EXISTS=${DATABASE_ALREADY_EXISTS:-}
	declare -ag OLD_DATABASES=()
	if [[ -s $PGDATA/PG_VERSION ]]; then
		DATABASE_ALREADY_EXISTS=true
	else
		mapfile -t OLD_DATABASES < <(entrypoint internal old-databases)
	fi
}

docker_create_db_directories() {
	entrypoint internal create-directories
}

docker_verify_minimum_env() {
	if [[ ${POSTGRES_HOST_AUTH_METHOD:-} == trust ]]; then
		echo 'entrypoint: warning: POSTGRES_HOST_AUTH_METHOD has been set to "trust": anybody can connect without a password' >&2
	elif [[ -z ${POSTGRES_PASSWORD:-} ]]; then
		echo 'entrypoint: error: there is no database yet, and no superuser password is specified to create one' >&2
		echo '  hint: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE' >&2
		exit 1
	fi
}

docker_error_old_databases() {
	[[ -n ${OLD_DATABASES[0]:-} ]] || return 0
	echo "entrypoint: error: there appears to be PostgreSQL data of another version or layout in: ${OLD_DATABASES[*]}" >&2
	echo '  hint: use a single mount at /var/lib/postgresql and move the data with pg_upgrade (https://github.com/docker-library/postgres/pull/1259, https://github.com/docker-library/postgres/issues/37)' >&2
	echo '  docs: upgrade-to-a-newer-major (entrypoint help upgrade-to-a-newer-major)' >&2
	exit 1
}

# docker_init_database_dir [ARGUMENTS OF INITDB...]
# shellcheck disable=SC2120 # scripts that source this file pass arguments
docker_init_database_dir() {
	entrypoint internal init-database-dir "$@"
}

# pg_setup_hba_conf [postgres] [ARGUMENTS OF POSTGRES...]
pg_setup_hba_conf() {
	[[ ${1:-} != postgres ]] || shift
	local auth
	auth=$(postgres -C password_encryption "$@")
	: "${POSTGRES_HOST_AUTH_METHOD:=$auth}"
	{
		echo
		[[ $POSTGRES_HOST_AUTH_METHOD != trust ]] || echo '# warning trust is enabled for all connections'
		echo "host all all all $POSTGRES_HOST_AUTH_METHOD"
	} >>"$PGDATA/pg_hba.conf"
}

# docker_temp_server_start [postgres] [ARGUMENTS OF POSTGRES...]: start a server that listens on the Unix socket only.
docker_temp_server_start() {
	[[ ${1:-} != postgres ]] || shift
	set -- "$@" -c listen_addresses='' -p "${PGPORT:-5432}"
	NOTIFY_SOCKET='' PGUSER=${PGUSER:-$POSTGRES_USER} \
		pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@")" -w start
}

docker_temp_server_stop() {
	PGUSER=${PGUSER:-postgres} pg_ctl -D "$PGDATA" -m fast -w stop
}

# docker_process_sql [ARGUMENTS OF PSQL...]: run SQL from stdin or -f as the superuser.
docker_process_sql() {
	local command=(psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc)
	if [[ -n ${POSTGRES_DB:-} ]]; then
		command+=(--dbname "$POSTGRES_DB")
	fi
	local -x PATH=$PATH
	# Debian's psql is a wrapper that looks for clusters, which a container does not have; it takes three times as long.
	hash psql postgres 2>/dev/null || :
	if [[ ${BASH_CMDS[psql]:-} -ef /usr/share/postgresql-common/pg_wrapper && -x ${BASH_CMDS[postgres]%/*}/psql ]]; then
		PATH=${BASH_CMDS[postgres]%/*}:$PATH
	fi
	PGHOST='' PGHOSTADDR='' "${command[@]}" "$@"
}

docker_setup_db() {
	local name=$POSTGRES_DB
	POSTGRES_DB='' docker_process_sql --dbname postgres --set db="$name" <<'SQL'
SELECT format('CREATE DATABASE %I', :'db')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'db') \gexec
SQL
}

# docker_process_init_files FILE...
docker_process_init_files() {
	# shellcheck disable=SC2034 # for sourced files, which use "${psql[@]}"
	psql=(docker_process_sql)
	echo
	local f
	for f; do
		if [[ -n ${_entrypoint_done:-} && -e $f ]]; then
			# The next start names this file if this one does not finish. An init file may have removed the record.
			[[ ! -e ${_entrypoint_state:-} ]] || echo "file $f" >>"$_entrypoint_state" || :
			printf 'file %s\0' "$f" >&"$_entrypoint_done" || :
		fi
		case $f in
		*.sh)
			if [[ -x $f ]]; then
				echo "$0: running $f"
				"$f"
			else
				echo "$0: sourcing $f"
				# shellcheck source=/dev/null
				. "$f"
			fi
			;;
		*.sql)
			echo "$0: running $f"
			docker_process_sql -f "$f"
			echo
			;;
		*.sql.gz) _entrypoint_unpacked gunzip -c "$f" ;;
		*.sql.xz) _entrypoint_unpacked xzcat "$f" ;;
		*.sql.zst) _entrypoint_unpacked zstd -dc "$f" ;;
		*) echo "$0: ignoring $f" ;;
		esac
		echo
	done
}

_entrypoint_unpacked() {
	echo "$0: running ${!#}"
	"$@" | docker_process_sql
	echo
}

# True if an argument makes postgres print something and exit.
_pg_want_help() {
	local argument
	for argument; do
		case $argument in
		'-?' | --help | --describe-config | -V | --version) return 0 ;;
		esac
	done
	return 1
}

# Print the functions that a wrapper may have replaced with its own.
_entrypoint_functions() {
	declare -f pg_ctl initdb psql postgres docker_setup_env docker_create_db_directories \
		docker_verify_minimum_env docker_error_old_databases docker_init_database_dir pg_setup_hba_conf \
		docker_temp_server_start docker_temp_server_stop docker_setup_db docker_process_init_files \
		docker_process_sql || :
}

_entrypoint_is_changed() {
	[[ $(<"${BASH_SOURCE[0]}") != "$(<"$_entrypoint_original")" ]]
}

_main() {
	(($#)) || return 0
	# Otherwise `entrypoint` would run this file first if it was changed.
	export ENTRYPOINT_SCRIPT=ran
	local own
	own=$(bash -c 'source "$1"; _entrypoint_functions' bash "$_entrypoint_original")
	if [[ $1 != postgres && $1 != -* ]] || _pg_want_help "$@"; then
		: # nothing to prepare
	elif [[ $own == "$(_entrypoint_functions)" ]]; then
		# The program does everything, but a changed file may end with something other than the server.
		if _entrypoint_is_changed; then
			entrypoint internal init "$@"
		fi
	elif ((EUID == 0)); then
		# As in the official script, a wrapper's functions are lost if it starts as root; this file's functions are not.
		if _entrypoint_is_changed; then
			docker_setup_env
			docker_create_db_directories
			exec gosu postgres "${BASH_SOURCE[0]}" "$@"
		fi
	else
		# The functions run in the official order; the program still starts the server.
		docker_setup_env
		docker_create_db_directories
		if [[ -z $DATABASE_ALREADY_EXISTS ]]; then
			docker_verify_minimum_env
			docker_error_old_databases
			ls /docker-entrypoint-initdb.d/ >/dev/null
			# shellcheck disable=SC2119
			docker_init_database_dir
			pg_setup_hba_conf "$@"
			export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
			docker_temp_server_start "$@"
			docker_setup_db
			docker_process_init_files /docker-entrypoint-initdb.d/*
			docker_temp_server_stop
			unset PGPASSWORD
			printf '\nPostgreSQL init process complete; ready for start up.\n\n'
		fi
	fi
	# Options are the server's here, as in the official script; `entrypoint --help` of a person is our own.
	[[ $1 != -* ]] || set -- postgres "$@"
	set -- entrypoint "$@"
	# Other people's Dockerfiles replace exactly this line to create a database while they build an image.
	exec "$@"
}

if ! _is_sourced; then
	(($#)) || exit 0
	if ! _entrypoint_is_changed; then
		[[ $1 != -* ]] || set -- postgres "$@"
		exec entrypoint "$@"
	fi
	_main "$@"
fi
