#!/usr/bin/env bash
# Installs Debian's PostgreSQL, starts a throwaway server on loopback, and prints the line that names it:
#   eval "$(bash .ci/postgres.sh)"
# Without apt or root it prints nothing, and the tests say what they skipped.
set -euo pipefail
port=54329
folder=/tmp/sfumato-postgres
quiet=/tmp/sfumato-postgres.log

binaries() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1; }
run() { su postgres -c "$1" >>"$quiet" 2>&1; }

[ "$(id -u)" = 0 ] || exit 0
: >"$quiet"
chmod 666 "$quiet"
if [ ! -x "$(binaries)/initdb" ]; then
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } >>"$quiet" 2>&1 || exit 0
fi
bin=$(binaries)
if ! run "$bin/pg_ctl -D $folder status"; then
  rm -rf "$folder"
  install -d -o postgres "$folder"
  run "$bin/initdb -D $folder --auth=trust --username=sfumato"
  run "$bin/pg_ctl -D $folder -w -l $quiet -o '-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c max_connections=60' start"
  run "$bin/createdb -h 127.0.0.1 -p $port -U sfumato sfumato"
fi
echo "export SFUMATO_TEST_POSTGRES=postgresql+psycopg://sfumato@127.0.0.1:$port/sfumato"
