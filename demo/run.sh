#!/usr/bin/env bash
# Shows that a database in a container of this image comes back after its volume is gone. Removes everything it created.
#
#   demo/run.sh              with pgBackRest
#   ARCHIVER=wal-g demo/run.sh
set -euo pipefail

image=${IMAGE:-nix-postgres:dev}
archiver=${ARCHIVER:-pgbackrest}
name=nix-postgres-demo
password=$(head -c 12 /dev/urandom | base64)

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
fail() {
	printf '\ndemo: %s\n' "$*" >&2
	docker logs --tail 40 $name >&2 || true
	exit 1
}

clean_up() {
	docker rm --force $name >/dev/null 2>&1 || true
	docker volume rm $name-data $name-data-2 $name-archive >/dev/null 2>&1 || true
}

start() { # volume, more options for docker run
	local volume=$1
	shift
	docker run --detach --name $name --shm-size 256m \
		--volume "$volume:/var/lib/postgresql/data" --volume $name-archive:/archive \
		--env ARCHIVE_URL=file:///archive --env ARCHIVE_TOOL="$archiver" "$@" "$image" >/dev/null
	for _ in {1..300}; do
		# over TCP, since the temporary server of a first start or a restore does not listen there
		docker exec $name pg_isready --quiet --host 127.0.0.1 2>/dev/null && return
		[ "$(docker inspect --format '{{.State.Running}}' $name)" = true ] || fail "the container has stopped"
		sleep 0.2
	done
	fail "the server does not accept connections after a minute"
}

sql() { docker exec $name psql --username postgres --no-psqlrc --quiet --tuples-only --no-align --command "$1"; }

# Prints three lines that change if any row differs.
fingerprint() {
	sql "SELECT 'ledger:           ' || count(*) || ' rows, checksum ' || md5(string_agg(ledger::text, ',' ORDER BY id)) FROM ledger"
	sql "SELECT 'pgbench_accounts: ' || count(*) || ' rows, balance ' || sum(abalance) FROM pgbench_accounts"
	sql "SELECT 'pgbench_history:  ' || count(*) || ' rows, sum ' || coalesce(sum(delta), 0) FROM pgbench_history"
}

trap clean_up EXIT
clean_up

docker run --rm --entrypoint sh "$image" -c "command -v $archiver" >/dev/null ||
	fail "the image has no $archiver; build it with: make image WALG=folder"

step "A new database with a password, archiving to a folder with $archiver"
start $name-data --env POSTGRES_PASSWORD="$password"
say "PostgreSQL $(sql 'SHOW server_version'), data in the volume $name-data, archive in $name-archive"

step "Rows written before the base backup"
docker exec $name pgbench --username postgres --initialize --scale 5 --quiet postgres 2>/dev/null
sql "CREATE TABLE ledger (id int PRIMARY KEY, what text, at timestamptz DEFAULT clock_timestamp())"
sql "INSERT INTO ledger SELECT i, 'before the backup' FROM generate_series(1, 5000) AS i"
say "pgbench at scale 5 and $(sql 'SELECT count(*) FROM ledger') more rows"

step "entrypoint backup push"
docker exec $name entrypoint backup push 2>/dev/null || fail "the backup failed"

step "More rows, which are only in the archived WAL"
docker exec $name pgbench --username postgres --client 4 --time 5 postgres 2>/dev/null | sed -n 's/^tps/   pgbench: tps/p'
sql "INSERT INTO ledger SELECT i, 'after the backup' FROM generate_series(5001, 10000) AS i"
before=$(fingerprint)
printf '%s\n' "$before" | sed 's/^/   /'

step "Stop the container and delete its volume"
docker stop -t 60 $name >/dev/null
say "exit code $(docker inspect --format '{{.State.ExitCode}}' $name)"
docker rm $name >/dev/null
docker volume rm $name-data >/dev/null
say "the volume $name-data is gone"

step "A new container on an empty volume, with RESTORE_FROM=LATEST"
SECONDS=0
start $name-data-2 --env RESTORE_FROM=LATEST
docker logs $name 2>&1 | grep -E '^entrypoint: info|selected new timeline' | sed 's/^/   /'
say "serving after $SECONDS s"

step "Is every row back?"
after=$(fingerprint)
printf '%s\n' "$after" | sed 's/^/   /'
[ "$before" = "$after" ] || fail "the rows differ from those before the stop"
say "yes: every row written before the stop is back"

step "entrypoint backup push, for the new timeline"
docker exec $name entrypoint backup push 2>/dev/null || fail "the backup failed"

step "entrypoint doctor"
docker exec $name entrypoint doctor || fail "doctor found a problem"
